"""Lists of images and labels: CSV, TSV, Parquet, and plain text of `path label` lines."""

import csv
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from soup import limits
from soup.config.data import Role
from soup.data.errors import DataError
from soup.data.sources import parquet
from soup.errors import some

SUFFIXES = (".csv", ".tsv", ".parquet", ".txt")
# Usual names of the columns, compared without case and underscores. ImageNet's labels on Kaggle are
# in the column 'PredictionString', as 'wnid x y x y ...'.
GUESSES: dict[Role, tuple[str, ...]] = {
    "path": ("path", "imagepath", "filepath", "file", "filename", "image", "imageid", "name"),
    "label": ("label", "class", "classname", "target", "category", "wnid", "predictionstring"),
    "split": ("split", "subset", "partition", "set"),
}


@dataclass(frozen=True)
class Line:
    """An image of a list; `number` is its line or row, counted from 1, for error messages."""

    path: str
    label: str
    number: int


def read_list(file: Path, columns: Mapping[Role, str], split: str) -> list[Line]:
    """The images of a list, in its order; if it has a column of splits, those of one split.

    Args:
        columns: 'path', 'label' or 'split' -> name of the column; others are guessed.
        split: which rows are wanted.

    Raises:
        DataError: the list cannot be read, lacks a column, has rows without a path or a label, has
            a path twice, or has no row of the split.
    """
    is_parquet = file.suffix.lower() == ".parquet"
    table = {} if is_parquet else _text(file) if file.suffix.lower() == ".txt" else _table(file)
    names = parquet.names(file) if is_parquet else list(table)
    path, label, at = (_column(file, names, columns, role) for role in GUESSES)
    if is_parquet:
        table = parquet.columns(file, [name for name in (path, label, at) if name])
    first = {".parquet": 1, ".txt": 1}.get(file.suffix.lower(), 2)  # line 1 is the header
    rows = list(zip(table[path], table[label], strict=True))
    chosen = range(len(rows)) if not at else [i for i, s in enumerate(table[at]) if s == split]
    if at and not chosen:
        raise DataError(
            f"{file} has no row whose {at} is '{split}': it has "
            f"{', '.join(sorted(set(table[at]))) or 'none'}; name one as 'split' of this source"
        )
    boxes = label.lower() == "predictionstring"
    lines = [
        Line(rows[i][0], rows[i][1].split(" ")[0] if boxes else rows[i][1], i + first)
        for i in chosen
    ]
    _require_sound(file, lines)
    return lines


def _require_sound(file: Path, lines: Sequence[Line]) -> None:
    wrong = [
        f"line {line.number}: no {'path' if not line.path else 'label'}"
        for line in lines
        if not line.path or not line.label
    ]
    for line in lines:
        reason = _odd(line.label) or ("a NUL character" if "\0" in line.path else "")
        wrong += [f"line {line.number}: {line.path[:100]!r}: {reason}"] if reason else []
    seen: dict[str, Line] = {}
    for line in lines:
        before = seen.setdefault(posixpath.normpath(line.path), line)
        if line.path and before is not line:
            labels = "" if before.label == line.label else f", as {before.label} and {line.label}"
            wrong.append(f"lines {before.number} and {line.number}: {line.path} twice{labels}")
    if wrong:
        raise DataError(f"{file} cannot be used:\n  " + some(wrong, 20, "\n  "))
    if not lines:
        raise DataError(f"{file} lists no image")


def _column(file: Path, found: list[str], given: Mapping[Role, str], role: Role) -> str:
    """The name of a role's column; '' if the list has no column of splits, which is optional."""
    if role in given:
        if given[role] not in found:
            raise DataError(f"{file} has no column '{given[role]}': it has {', '.join(found)}")
        return given[role]
    plain = {name.lower().replace("_", "").strip(): name for name in reversed(found)}
    guess = next((plain[name] for name in GUESSES[role] if name in plain), None)
    if guess is None and role != "split":
        raise DataError(
            f"{file}: which column holds the {role}s? It has {', '.join(found) or 'none'}; "
            f"set columns: {{{role}: NAME}}"
        )
    return guess or ""


def _table(file: Path) -> dict[str, list[str]]:
    _require_small(file)
    delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            rows = list(csv.reader(opened, delimiter=delimiter))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{file} cannot be read as a list: {error}") from None
    header, lines = (rows[0] if rows else []), [row for row in rows[1:] if row]
    wrong = [n for n, row in enumerate(rows[1:], 2) if row and len(row) != len(header)]
    if wrong:
        raise DataError(
            f"{file}: {len(header)} columns in the header, another number in line "
            + ", ".join(map(str, wrong[:20]))
        )
    return {name: [row[i] for row in lines] for i, name in enumerate(header)}


def _require_small(file: Path) -> None:
    """Raise DataError for what is no regular file, or too large to be read whole."""
    if file.exists() and not file.is_file():
        raise DataError(f"{file} is no regular file")
    if file.is_file() and (size := file.stat().st_size) > limits.LIST_BYTES:
        raise DataError(
            f"{file} is refused: it has {size:,} bytes; at most {limits.LIST_BYTES:,} are read "
            "(limit LIST_BYTES in soup/limits.py)"
        )


def _text(file: Path) -> dict[str, list[str]]:
    pairs = [line.rsplit(None, 1) for line in text_lines(file)]
    wrong = [str(n) for n, pair in enumerate(pairs, 1) if len(pair) != 2]
    if wrong:
        raise DataError(f"{file}: expected 'path label', not so in line {', '.join(wrong[:20])}")
    return {"path": [pair[0] for pair in pairs], "label": [pair[1] for pair in pairs]}


def text_lines(file: Path) -> list[str]:
    """The lines of a text file, trimmed, without empty lines at the end.

    Raises:
        DataError: the file cannot be read.
    """
    _require_small(file)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}") from None
    lines = [line.strip() for line in text.rstrip().splitlines()]
    odd = [f"line {number}: {why}" for number, line in enumerate(lines, 1) if (why := _odd(line))]
    if odd:
        raise DataError(f"{file} cannot be used: {some(odd, 5)}")
    return lines


def _odd(text: str) -> str:
    """Why a path, label or line cannot be used; '' if it can."""
    if "\0" in text:
        return "a NUL character"
    return f"longer than {limits.LIST_TEXT} characters" if len(text) > limits.LIST_TEXT else ""
