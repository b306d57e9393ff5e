"""Read YAML from other people: plain values only, within limits."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from soup import limits
from soup.files import BadJson, read_bytes


class BadYaml(BadJson):
    """A text is not YAML, or exceeds a limit of size or depth; the message names its source."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, limited to the nesting depth that JSON has (`limits.JSON_DEPTH`)."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > limits.JSON_DEPTH:
            raise yaml.YAMLError(f"it is nested deeper than {limits.JSON_DEPTH}")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file.

    Raises:
        BadYaml: the file is not YAML, or exceeds a limit of `parse_yaml`.
        BadJson: the file is larger than allowed, or not a regular file.
        OSError: the file cannot be read.
    """
    return parse_yaml(read_bytes(path, limits.YAML_BYTES), str(path))


def parse_yaml(text: str | bytes, source: str) -> Any:
    """Parse YAML from other people.

    Args:
        source: where the text comes from, for the error message.

    Raises:
        BadYaml: the text is not YAML, is too large or too deeply nested, or has aliases that repeat
            it too often.
    """
    try:
        if len(text) > limits.YAML_BYTES:
            raise ValueError(f"it has more than {limits.YAML_BYTES:,} bytes, the most that is read")
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        value = yaml.load(text, _Loader)  # a subclass of SafeLoader
        for count, _ in enumerate(_values(value)):
            if count >= limits.YAML_VALUES:
                raise ValueError(f"its aliases make more than {limits.YAML_VALUES:,} values of it")
    except UnicodeError as error:
        raise BadYaml(f"{source}: cannot be read: {error}") from None
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise BadYaml(f"{source}: is not YAML: {' '.join(str(error).split())}") from None
    return value


def _values(value: Any) -> Iterator[Any]:
    """Yield every value and key, without recursion; endlessly if a value contains itself."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        yield value
        if isinstance(value, dict):
            waiting += value
            waiting += value.values()
        elif isinstance(value, list | tuple | set):
            waiting += value
        elif isinstance(value, str) and ("\0" in value or not value.isprintable()):
            value.encode()
            if "\0" in value:
                raise ValueError("a text in it has a NUL character")
