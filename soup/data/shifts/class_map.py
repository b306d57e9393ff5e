"""Class maps: a user's file that says which of train's classes each class folder of a shift means.

YAML or JSON: a table of folder -> class, list of classes, or null for a folder to leave out.
CSV: the columns `folder` and `class`, a line for each class of a folder; without a class the folder
is left out.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from unicodedata import normalize

import yaml

from soup.data.errors import DataError


def read(path: Path) -> dict[str, tuple[str, ...]]:
    """Class folder -> classes that it means; () for a folder to leave out.

    Raises:
        DataError: the file is missing, is none of the three kinds, or is not such a table.
    """
    kinds: Mapping[str, Callable[[str], object]] = {
        ".yaml": yaml.safe_load,
        ".yml": yaml.safe_load,
        ".json": json.loads,
        ".csv": _csv,
    }
    if path.suffix.lower() not in kinds:
        raise DataError(f"class map {path}: must be one of {', '.join(kinds)}")
    try:
        raw = kinds[path.suffix.lower()](path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, yaml.YAMLError) as error:
        raise DataError(f"class map {path} cannot be read: {error}") from None
    if not isinstance(raw, dict) or not raw:
        raise DataError(f"class map {path} must be a table of folder: class")
    table: dict[str, tuple[str, ...]] = {}
    wrong: list[str] = []
    for folder, value in raw.items():
        classes = [] if value is None else value if isinstance(value, list) else [value]
        if any(isinstance(c, (list, dict, bool, float)) or c is None for c in classes):
            wrong.append(str(folder))
        names = [normalize("NFC", str(name)) for name in (folder, *classes)]
        table[names[0]] = tuple(dict.fromkeys(names[1:]))
    if wrong:
        raise DataError(
            f"class map {path}: must be a class, a list of classes, or null: {', '.join(wrong)}"
        )
    return table


def _csv(text: str) -> dict[str, list[str]]:
    lines = csv.DictReader(io.StringIO(text))
    if set(lines.fieldnames or ()) != {"folder", "class"}:
        raise ValueError(f"columns {lines.fieldnames}, expected folder and class")
    table: dict[str, list[str]] = {}
    for line in lines:
        table.setdefault(line["folder"], []).extend([line["class"]] if line["class"] else [])
    return table
