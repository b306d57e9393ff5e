"""Read YAML that others may have written: within limits, plain values only."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from soup import limits
from soup.files import BadJson, read_bytes


class BadYaml(BadJson):
    """A text is not YAML, or larger or deeper than what is read; the message names its source."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which recurses no deeper than JSON may be nested."""

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
        BadYaml: it is not YAML, or beyond the limits of `parse_yaml`.
        BadJson: it is larger, or no regular file.
        OSError: it cannot be read.
    """
    return parse_yaml(read_bytes(path, limits.YAML_BYTES), str(path))


def parse_yaml(text: str | bytes, source: str) -> Any:
    """Parse YAML that others may have written.

    Args:
        source: where the text is from, for the message.

    Raises:
        BadYaml: it is not YAML, too large, nested too deep, or aliases repeat too much of it.
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
    """Every value and key, without recursion; one that holds itself has no end."""
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
