"""A manifest: the table that says of every image which class and which split it belongs to."""

import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from soup.data.errors import DataError

COLUMNS = ("path", "class", "split", "content")


@dataclass(frozen=True, order=True)
class Row:
    """One image of a manifest.

    Attributes:
        path: of the image file, relative to the data root, with forward slashes.
        label: name of the image's class.
        split: 'train', 'heldout', 'test' or the name of a distribution shift.
        content: fingerprint of the file when the split was made (`soup.data.reading.image_file`).
    """

    path: str
    label: str
    split: str
    content: str


@dataclass(frozen=True)
class Manifest:
    """The images of one or more splits, one row an image; stored as CSV.

    Attributes:
        rows: the images, in the order of the file.
    """

    rows: tuple[Row, ...]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The class names, sorted: a class's position is its label."""
        return tuple(sorted({row.label for row in self.rows}))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the CSV file."""
        return hashlib.sha256(self.to_csv().encode()).hexdigest()

    def split(self, name: str) -> tuple[Row, ...]:
        """The images of one split, in order; none if the manifest does not have the split."""
        return tuple(row for row in self.rows if row.split == name)

    def to_csv(self) -> str:
        """The manifest as CSV: the same rows give the same bytes on every platform."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((row.path, row.label, row.split, row.content) for row in self.rows)
        return text.getvalue()

    @staticmethod
    def load(path: Path) -> "Manifest":
        """Read a manifest; one that this process has read before is not parsed again.

        Raises:
            DataError: the file is missing or is not a manifest.
        """
        try:
            state = path.stat()
            return _parsed(path, state.st_ino, state.st_size, state.st_mtime_ns)
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{path} is not a split manifest: {error}; run prepare") from None


@lru_cache(maxsize=2)  # a project has two manifests
def _parsed(path: Path, *_state: int) -> Manifest:
    """The manifest in a file, which `_state` tells apart from what the file held before."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    if tuple(header) != COLUMNS:
        raise ValueError(f"columns {header}, expected {list(COLUMNS)}")
    return Manifest(tuple(Row(*line) for line in lines))
