"""A manifest: the table that says of every image which class and which split it belongs to."""

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from soup.data.errors import DataError
from soup.errors import some

COLUMNS = ("path", "class", "split", "content")


def in_order(classes: Iterable[str]) -> tuple[str, ...]:
    """Class names, each once: by number if all of them are numbers, else sorted as text.

    So row k of a head belongs to class k, where the classes are the numbers from 0. Sorted as text,
    10 would come before 2.
    """
    names = set(classes)
    numbers = all(name.isdecimal() for name in names)
    return tuple(sorted(names, key=lambda name: (int(name) if numbers else 0, name)))


def too_few(whose: str, classes: Sequence[str]) -> list[str]:
    """What is wrong with the classes of something, if it has one class alone."""
    alone = f"{whose} has one class alone ({some(classes, 1)}): nothing to classify"
    return [alone] if len(classes) == 1 else []


def order_note(classes: Sequence[str]) -> str:
    """What to say of the order of classes; '' if `in_order` puts them as sorting as text does."""
    if list(classes) == sorted(classes):
        return ""
    return (
        f"the classes are numbers, in the order {some(classes, 3)}; a head that was trained in "
        f"another order, such as {some(sorted(classes), 3)}, needs a model.json that names its "
        "classes"
    )


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
        """The class names in order (`in_order`): a class's position is its label."""
        return in_order(row.label for row in self.rows)

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
        except (OSError, ValueError, TypeError, csv.Error) as error:
            raise DataError(f"{path} is not a split manifest: {error}; run prepare") from None


@lru_cache(maxsize=2)  # a project has two manifests
def _parsed(path: Path, *_state: int) -> Manifest:
    """The manifest in a file, which `_state` tells apart from what the file held before."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    if tuple(header) != COLUMNS:
        raise ValueError(f"columns {header}, expected {list(COLUMNS)}")
    return Manifest(tuple(Row(*line) for line in lines))
