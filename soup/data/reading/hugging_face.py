"""Hugging Face data sets, read by timm's reader and named `hfds/NAME` as in timm.

timm's reader of webdataset shards is not used: it streams them, and cannot read a single image by
its index. `soup.data.sources.tar_listing` lists the shards instead.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

from soup.data.errors import DataError
from soup.data.reading.limits import default_limits, require_bytes

PREFIX = "hfds/"
MARK = "hfds:"


def path_of(name: str, split: str, index: int) -> str:
    """The path of a row of a data set in a manifest."""
    return f"{MARK}{name}@{split}::{index:07d}"


def row(path: Path) -> tuple[str, str, int] | None:
    """(name, split, index) of the row that a path names; None for a path of another kind."""
    _, mark, rest = str(path).partition(f"/{MARK}")
    if not mark:
        return None
    source, _, index = rest.rpartition("::")
    name, _, split = source.rpartition("@")
    return (name, split, int(index)) if index.isdecimal() and name else None


def read(name: str, split: str, index: int) -> bytes:
    """The encoded image of a row.

    Raises:
        DataError: the data set cannot be read.
        OSError: the data set has no such row.
    """
    opened = reader(name, split)
    if index >= len(opened):
        raise OSError(f"No such row: {name} ({split}) has {len(opened)}")
    cell = opened.dataset[index][opened.image_key]
    if not cell.get("bytes"):  # timm opens the path in its place
        path = Path(str(cell.get("path")))
        if not path.is_file():
            raise OSError(f"row {index} of {name} names {path}, which is no regular file")
        require_bytes(path.stat().st_size, default_limits())
    with opened[index][0] as file:
        data: bytes = file.read()
    return data


def labels(name: str, split: str) -> tuple[list[str], bool]:
    """The labels of all rows, and whether they are numbers (the data set does not name classes).

    Raises:
        DataError: the data set cannot be read, or has no column of labels.
    """
    opened = reader(name, split)
    if opened.label_key not in opened.dataset.column_names:
        raise DataError(
            f"{PREFIX}{name} has no column '{opened.label_key}': "
            f"it has {', '.join(opened.dataset.column_names)}"
        )
    numbers = [int(label) for label in opened.dataset[opened.label_key]]
    names = {index: name for name, index in opened.class_to_idx.items()}
    return [str(names.get(number, number)) for number in numbers], not names


def state(name: str, split: str) -> str:
    """A text that changes when the data set changes."""
    return str(getattr(reader(name, split).dataset, "_fingerprint", len(reader(name, split))))


@lru_cache(maxsize=16)
def reader(name: str, split: str) -> Any:
    """timm's reader of a data set.

    Raises:
        DataError: a package is missing, or the data set cannot be read.
    """
    from timm.data.readers import create_reader

    try:
        return create_reader(f"{PREFIX}{name}", root=None, split=split)
    except ImportError as error:
        raise DataError(
            f"{PREFIX}{name} needs the package '{error.name}': pip install {error.name}"
        ) from None
    except Exception as error:  # whatever the package raises: there is no common class
        raise DataError(f"{PREFIX}{name}, split {split}, cannot be had: {error}") from None
