"""Find the Parquet files of each split in the list of a repository's files.

The front matter of README.md may name the files (`configs`) and the classes (`dataset_info`).
Otherwise the names of the files tell the split, as the `datasets` package writes them:
CONFIG/SPLIT-00000-of-00002.parquet, and CONFIG/SPLIT/0000.parquet on the branch that the hub itself
converts data sets to.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from soup.config.yaml_text import parse_yaml
from soup.data.errors import DataError
from soup.errors import near, some

DEFAULT = "default"
_NAMED = re.compile(
    r"(?:(?P<config>[^/]+)/)?(?P<split>(?!\d+\.parquet$)[^/]+?)"
    r"(?:-\d{5}-of-\d{5}(?:-[0-9a-f]+)?|/\d{4,})?\.parquet"
)

Splits = dict[str, list[str]]


def front_matter(text: str, source: str) -> dict[str, Any]:
    """The YAML at the top of a README.md; empty if there is none.

    Raises:
        BadYaml: it is not YAML, or too large.
    """
    if not text.startswith("---"):
        return {}
    head = re.split(r"^---\s*$", text, maxsplit=2, flags=re.MULTILINE)
    found = parse_yaml(head[1], source) if len(head) == 3 else {}
    return found if isinstance(found, dict) else {}


def configurations(files: Iterable[str], card: Mapping[str, Any]) -> dict[str, Splits]:
    """Configuration -> split -> its Parquet files, sorted; empty if no file can be assigned.

    Args:
        files: the paths of all files of the repository.
        card: the front matter of its README.md.
    """
    usable = sorted(file for file in files if _is_safe(file))
    found = _from_card(usable, card)
    if found:
        return found
    for file in usable:
        name = _NAMED.fullmatch(file)
        if name:
            config = name["config"] or DEFAULT
            config = DEFAULT if config == "data" else config
            found.setdefault(config, {}).setdefault(name["split"], []).append(file)
    return found


def _is_safe(file: str) -> bool:
    parts = PurePosixPath(file).parts
    plain = file == "/".join(parts) and not file.startswith("/") and "\\" not in file
    return plain and file.endswith(".parquet") and ".." not in parts and "::" not in file


def _from_card(files: Sequence[str], card: Mapping[str, Any]) -> dict[str, Splits]:
    from fsspec.utils import glob_translate

    found: dict[str, Splits] = {}
    for config in _tables(card.get("configs")):
        data = config.get("data_files")
        parts = _tables(data) or [{"split": "train", "path": data}]
        for part in parts:
            patterns = part.get("path")
            patterns = [patterns] if isinstance(patterns, str) else patterns
            for pattern in patterns if isinstance(patterns, list) else ():
                matches = re.compile(glob_translate(str(pattern))).match
                fitting = [file for file in files if matches(file)]
                if fitting:
                    splits = found.setdefault(str(config.get("config_name", DEFAULT)), {})
                    splits.setdefault(str(part.get("split", "train")), []).extend(fitting)
    return found


def default_configuration(card: Mapping[str, Any]) -> str:
    """The configuration that the README marks as the default one; '' if it marks none."""
    marked = [c for c in _tables(card.get("configs")) if c.get("default") is True]
    return str(marked[0].get("config_name", "")) if marked else ""


def chosen(found: Mapping[str, Splits], wanted: str | None, marked: str, name: str) -> str:
    """The configuration to read: the one that is asked for, or the only or the default one.

    Args:
        found: the configurations that there are.
        wanted: that of the parameters.
        marked: that of `default_configuration`.
        name: of the data set, for the message.

    Raises:
        DataError: there is no such configuration, or there are several and none is asked for.
    """
    if wanted is not None and wanted not in found:
        raise DataError(
            f"{name} has no configuration {wanted!r}{near(wanted, found)}: it has "
            f"{some([*found], 12)} (data.hub.config)"
        )
    for config in (wanted, marked, DEFAULT, next(iter(found)) if len(found) == 1 else None):
        if config in found:
            return str(config)
    raise DataError(
        f"{name} has {len(found)} configurations: {some([*found], 12)}; name one: data.hub: "
        f"{{dataset: {name}, config: {next(iter(found))}}}"
    )


def class_names(card: Mapping[str, Any], config: str) -> dict[str, list[str]]:
    """Column -> the names of its classes, by number, as the front matter's `dataset_info` says."""
    tables = _tables(card.get("dataset_info"))
    fitting = [t for t in tables if t.get("config_name", DEFAULT) == config] or tables[:1]
    names: dict[str, list[str]] = {}
    for feature in _tables(fitting[0].get("features") if fitting else None):
        kind = feature.get("dtype")
        label = kind.get("class_label") if isinstance(kind, dict) else None
        called = label.get("names") if isinstance(label, dict) else None
        if isinstance(called, dict):
            called = [called.get(str(i), called.get(i)) for i in range(len(called))]
        if isinstance(called, list) and None not in called:
            names[str(feature.get("name"))] = [str(name) for name in called]
    return names


def _tables(value: object) -> list[dict[str, Any]]:
    """The tables in a list; a table alone counts as a list of one."""
    values = value if isinstance(value, list) else [value]
    return [table for table in values if isinstance(table, dict)]
