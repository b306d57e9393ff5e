"""Read tables of texts: tab-separated, CSV, JSON lines, Parquet, Hugging Face's folders.

A manifest identifies a row by its number, counted from 1 without the header.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from soup import limits
from soup.data.errors import DataError
from soup.data.sources import parquet
from soup.errors import some
from soup.files import parse_json

TABS = (".tsv", ".txt")
SUFFIXES = (*TABS, ".csv", ".jsonl", ".json", ".parquet")
MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}  # the byte-order marks of other encodings


@dataclass(frozen=True)
class Table:
    """A table of text cells.

    Attributes:
        columns: name of a column -> its cells; without a header the names are '0', '1', ... A
            missing cell is ''.
        numbers: the number of each row in its file.
        classes: the columns of class labels, whose cells are names (-1 where a label is hidden).
        malformed: the number of each row with more or fewer cells than the header, and a message;
            these rows are not in `columns`.
    """

    columns: dict[str, list[str]]
    numbers: list[int]
    malformed: dict[int, str] = field(default_factory=dict)
    classes: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: Sequence[int]) -> "Table":
        """Some of the rows, by their positions."""
        columns = {name: [cells[i] for i in rows] for name, cells in self.columns.items()}
        return Table(columns, [self.numbers[i] for i in rows], self.malformed, self.classes)

    def naming(self, column: str, names: Sequence[str]) -> "Table":
        """The table with the names of classes for the numbers in a column."""
        number_of = {str(number): name for number, name in enumerate(names)}
        cells = [number_of.get(cell, cell) for cell in self.columns[column]]
        columns = {**self.columns, column: cells}
        return Table(columns, self.numbers, self.malformed, self.classes | {column})


def read_table(path: Path, header: bool = True) -> Table:
    """Read the table in a file or folder; the last few tables are cached.

    Args:
        path: .tsv and .txt are tab-separated, without quoting; .csv is quoted by "; .jsonl and
            .json hold one object on each line; .parquet; or a folder written by `save_to_disk` of
            Hugging Face's `datasets`.
        header: whether the first line of a tab-separated file names the columns.

    Raises:
        DataError: the table cannot be read; the message names the file and the line.
    """
    try:
        return _read(path, header, state(path))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def state(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, size in bytes and time of change (ns) of a file, or of all files in a folder.

    Raises:
        OSError: there is no such file or folder.
    """
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return tuple((f.name, stat.st_size, stat.st_mtime_ns) for f in files for stat in [f.stat()])


@lru_cache(maxsize=4)  # train, test and a shift or two
def _read(path: Path, header: bool, _state: object) -> Table:
    if path.is_dir():
        return _arrow(path)
    match path.suffix.lower():
        case ".tsv" | ".txt":
            return _tabs(path, header)
        case ".csv":
            return _csv(path)
        case ".jsonl" | ".json":
            return _json_lines(path)
        case ".parquet":
            return _parquet(path)
    raise DataError(
        f"{path} is none of what texts are read from: {', '.join(SUFFIXES)}, or a folder that "
        "Hugging Face's save_to_disk wrote"
    )


def _text(path: Path) -> str:
    raw = path.read_bytes()
    other = next((name for mark, name in MARKS.items() if raw.startswith(mark)), "")
    try:
        if other:
            raise UnicodeDecodeError("utf-8", raw, 0, 1, f"its byte-order mark is that of {other}")
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path} is not UTF-8 (line {line}, byte {error.start}: {error.reason}): convert it, "
            f"for example iconv -f {other or 'WINDOWS-1252'} -t UTF-8"
        ) from None
    if "\0" in text:
        raise DataError(f"{path} is no text: it holds NUL characters")
    return text


def _tabs(path: Path, header: bool) -> Table:
    # Not splitlines(): some sentences hold U+0085 or U+2028, which it takes for line ends.
    lines = [line.removesuffix("\r") for line in _text(path).split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    cells = [line.split("\t") for line in lines]
    if not cells:
        raise DataError(f"{path} is empty")
    names = cells[0] if header else [str(index) for index in range(len(cells[0]))]
    return _table(path, names, cells[1:] if header else cells)


def _csv(path: Path) -> Table:
    try:
        rows = [row for row in csv.reader(io.StringIO(_text(path), newline=""), strict=True) if row]
    except csv.Error as error:
        raise DataError(f"{path} is no CSV: {error}; one without quotes is a .tsv") from None
    if not rows:
        raise DataError(f"{path} is empty")
    return _table(path, rows[0], rows[1:])


def _table(path: Path, names: list[str], rows: list[list[str]]) -> Table:
    """The rows that have a cell for each name; the others become `Table.malformed`."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path} has two columns {some(twice, 5)}")
    whole = [number for number, row in enumerate(rows, 1) if len(row) == len(names)]
    malformed = {
        number: f"{len(row)} cells instead of {len(names)}"
        for number, row in enumerate(rows, 1)
        if len(row) != len(names)
    }
    columns = {name: [rows[n - 1][i] for n in whole] for i, name in enumerate(names)}
    return Table(columns, whole, malformed)


def _json_lines(path: Path) -> Table:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number}, is no JSON: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}, is no JSON object but {type(row).__name__}")
        rows.append(row)
    if not rows:
        raise DataError(f"{path} is empty")
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [_written(row.get(name)) for row in rows] for name in names}
    return Table(columns, [*range(1, len(rows) + 1)])


def _parquet(path: Path) -> Table:
    """The columns of text and numbers; the schema of a file of `datasets` has the class names."""
    wanted = parquet.names(path)
    opened = parquet.opened(path)
    size = parquet.unpacked(opened.metadata, wanted)
    if size > limits.LIST_BYTES:
        raise parquet.beyond(path, f"{size:,} bytes of texts", "LIST_BYTES")
    from pyarrow import ArrowException

    written = (opened.schema_arrow.metadata or {}).get(b"huggingface", b"{}")
    try:
        told = parse_json(written, f"{path}, the schema's 'huggingface'")
        info = told.get("info") if isinstance(told, dict) else None
        features = info.get("features") if isinstance(info, dict) else None
        return _of_arrow(opened.read(wanted), _class_names(features))
    except (OSError, ValueError, ArrowException) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from None


def _class_names(features: object) -> dict[str, list[str]]:
    """Column -> the names of its classes, from the features that `datasets` describes."""
    return {
        column: [str(name) for name in feature["names"]]
        for column, feature in (features.items() if isinstance(features, dict) else ())
        if isinstance(feature, dict)
        and feature.get("_type") == "ClassLabel"
        and isinstance(feature.get("names"), list)
    }


def _arrow(folder: Path) -> Table:
    """Read a data set written by Hugging Face's `save_to_disk`, without their package."""
    try:
        from pyarrow import ArrowException, concat_tables, ipc, memory_map
        from pyarrow import Table as ArrowTable
    except ImportError:
        raise DataError(f"{folder} needs the package 'pyarrow': pip install pyarrow") from None
    state = folder / "state.json"
    if not state.is_file():
        parts = folder / "dataset_dict.json"
        held = f"; its splits are {', '.join(_json(parts)['splits'])}" if parts.is_file() else ""
        raise DataError(
            f"{folder} is no data set that save_to_disk wrote: it has no state.json{held}"
        )
    files = [Path(entry["filename"]) for entry in _json(state)["_data_files"]]
    if any(file.name != str(file) for file in files):
        raise DataError(f"{state} names files outside its folder")
    names = _class_names(_json(folder / "dataset_info.json").get("features"))
    tables: list[ArrowTable] = []
    try:
        for file in files:
            with memory_map(str(folder / file)) as opened:
                tables.append(ipc.open_stream(opened).read_all())
        return _of_arrow(concat_tables(tables), names)
    except (OSError, ValueError, ArrowException) as error:
        raise DataError(f"{folder} cannot be read: {error}") from None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None


def _of_arrow(table: Any, names: dict[str, list[str]]) -> Table:
    """The columns of texts and numbers; class labels become their names (`names`)."""
    columns = {}
    for field_ in table.schema:
        cells = table.column(field_.name).to_pylist()
        if any(isinstance(cell, dict | list | bytes) for cell in cells[:100]):
            continue
        called = names.get(field_.name)
        columns[field_.name] = [
            called[cell]
            if called and isinstance(cell, int) and 0 <= cell < len(called)
            else _written(cell)
            for cell in cells
        ]
    classes = frozenset(names) & columns.keys()
    return Table(columns, [*range(1, table.num_rows + 1)], classes=classes)


def _written(value: object) -> str:
    """A cell as text; whole numbers without decimals."""
    if value is None or value != value:  # noqa: PLR0124 # NaN
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
