"""Class maps: a user's file that says which of train's classes each class folder of a shift means.

YAML or JSON: a table of folder -> class, list of classes, or null for a folder to leave out.
CSV: the columns `folder` and `class`, a line for each class of a folder; without a class the folder
is left out.
"""

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from unicodedata import normalize

from soup.config.yaml_text import parse_yaml
from soup.data.errors import DataError
from soup.errors import some
from soup.files import parse_json, read_bytes


def read(path: Path) -> dict[str, tuple[str, ...]]:
    """Class folder -> classes that it means; () for a folder to leave out.

    Raises:
        DataError: the file is missing, is none of the three kinds, or is not such a table.
    """
    kinds: Mapping[str, Callable[[bytes, str], object]] = {
        ".yaml": parse_yaml,
        ".yml": parse_yaml,
        ".json": parse_json,
        ".csv": _csv,
    }
    if path.suffix.lower() not in kinds:
        raise DataError(f"class map {path}: must be one of {', '.join(kinds)}")
    try:
        raw = kinds[path.suffix.lower()](read_bytes(path), "the file")
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"class map {path} cannot be read: {error}") from None
    if not isinstance(raw, dict) or not raw:
        raise DataError(f"class map {path} must be a table of folder: class")
    table: dict[str, tuple[str, ...]] = {}
    wrong: list[str] = []
    for folder, value in raw.items():
        classes = [] if value is None else value if isinstance(value, list) else [value]
        if any(isinstance(c, (list, dict, bool, float)) or c is None for c in classes):
            wrong.append(" ".join(str(folder).split()))
        names = [normalize("NFC", str(name)) for name in (folder, *classes)]
        table[names[0]] = tuple(dict.fromkeys(names[1:]))
    if wrong:
        raise DataError(
            f"class map {path}: must be a class, a list of classes, or null: {some(wrong, 10)}"
        )
    return table


def _csv(text: bytes, _source: str) -> dict[str, list[str]]:
    lines = csv.DictReader(io.StringIO(text.decode("utf-8-sig"), newline=""))
    if sorted(lines.fieldnames or ()) != ["class", "folder"]:
        raise ValueError(f"columns {lines.fieldnames}, expected folder and class")
    table: dict[str, list[str]] = {}
    for line in lines:
        if line["folder"] is None or None in line:
            raise ValueError(f"line {lines.line_num} has not two columns")
        if "\0" in line["folder"]:
            raise ValueError(f"line {lines.line_num} has a NUL character")
        table.setdefault(line["folder"], []).extend([line["class"]] if line["class"] else [])
    return table
