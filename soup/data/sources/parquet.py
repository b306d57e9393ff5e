"""Read columns of text and numbers from a Parquet file, after their sizes are summed.

In Hugging Face's files, the pictures themselves are a column beside the labels. Such a column is
not read; of the other columns, only the requested ones are.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from soup import limits
from soup.data.errors import DataError

ROWS_AT_ONCE = 65_536


def names(file: Path) -> list[str]:
    """The names of the columns of text, numbers, booleans and times.

    Raises:
        DataError: the file cannot be read, or has more rows than `limits.LIST_ROWS`.
    """
    table = opened(file)
    if table.metadata.num_rows > limits.LIST_ROWS:
        raise beyond(file, f"{table.metadata.num_rows:,} rows", "LIST_ROWS")
    return [field.name for field in table.schema_arrow if _is_written(field.type)]


def columns(file: Path, wanted: Sequence[str]) -> dict[str, list[str]]:
    """Columns as text; a missing value is ''.

    Raises:
        DataError: the file cannot be read, the unpacked columns have more bytes than
            `limits.LIST_BYTES`, or a cell has more characters than `limits.LIST_TEXT`.
    """
    import pyarrow as pa

    table = opened(file)
    texts = [f.name for f in table.schema_arrow if f.name in wanted and _is_text(f.type)]
    size = unpacked(table.metadata, wanted)
    if size > limits.LIST_BYTES:
        raise beyond(file, f"{size:,} bytes in {', '.join(wanted)}", "LIST_BYTES")
    found: dict[str, list[str]] = {name: [] for name in wanted}
    try:
        # In a dictionary column, a text that many rows share is in memory only once.
        for batch in opened(file, texts).iter_batches(ROWS_AT_ONCE, columns=[*wanted]):
            for name in wanted:
                column = batch.column(name)
                if isinstance(column, pa.DictionaryArray):
                    values = _cells(file, name, column.dictionary)
                    found[name] += [
                        "" if i is None else values[i] for i in column.indices.to_pylist()
                    ]
                else:
                    found[name] += _cells(file, name, column)
    except (pa.ArrowException, OSError, ValueError, NotImplementedError, KeyError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file} cannot be read as Parquet: {error}") from None
    return found


def opened(file: Path, as_dictionaries: Sequence[str] = ()) -> Any:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise DataError(f"{file} needs the package 'pyarrow': pip install pyarrow") from None
    try:
        return parquet.ParquetFile(file, read_dictionary=[*as_dictionaries])
    except (pa.ArrowException, OSError, ValueError, NotImplementedError, KeyError) as error:
        raise DataError(f"{file} cannot be read as Parquet: {error}") from None


def unpacked(metadata: Any, wanted: Sequence[str]) -> int:
    """The unpacked size of columns in bytes, as the table of contents states it."""
    return sum(
        chunk.total_uncompressed_size
        for group in map(metadata.row_group, range(metadata.num_row_groups))
        for chunk in map(group.column, range(metadata.num_columns))
        if chunk.path_in_schema in wanted
    )


def _cells(file: Path, name: str, values: Any) -> list[str]:
    import pyarrow as pa
    from pyarrow import compute

    if _is_text(values.type):
        longest = compute.max(compute.binary_length(values)).as_py() or 0
        if longest > 4 * limits.LIST_TEXT:  # the most bytes that so many characters take
            raise beyond(file, f"a cell of {longest:,} bytes in {name}", "LIST_TEXT")
    elif pa.types.is_null(values.type):
        return [""] * len(values)
    return [_written(value) for value in values.to_pylist()]


def _written(value: object) -> str:
    """A cell as text; a whole number has no decimals, though gaps in its column make it 3.0."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_written(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _is_written(kind.value_type)
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    more = (pa.types.is_temporal, pa.types.is_decimal, _is_text)
    return any(test(kind) for test in (*tests, *more))


def beyond(file: Path, what: str, limit: str) -> DataError:
    return DataError(
        f"{file} is refused: it has {what}; at most {getattr(limits, limit):,} are read "
        f"(limit {limit} in soup/limits.py)"
    )
