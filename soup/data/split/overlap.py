"""The same picture in several places: twice in train, or on both sides of a split.

Two images are the same picture if their pixels are equal once they are decoded, whatever their
names, formats and metadata; or, where only headers are read (data.check), if their bytes are.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Literal

from soup.data.errors import DataError
from soup.data.reading.image_file import read
from soup.data.reading.limits import Limits
from soup.data.split.manifest import Row
from soup.errors import some

SHOWN = 5


def read_where_alike(
    pictures: Mapping[str, str], root: Path, limits: Limits | None = None
) -> dict[str, str]:
    """Path -> digest of the picture, after a check of the headers alone.

    The files of which size and start agree with another's are read whole, for only these may be the
    same picture.
    """
    times = Counter(pictures.values())
    return {
        path: sha256(read(root / path, limits)).hexdigest() if times[picture] > 1 else picture
        for path, picture in pictures.items()
    }


def several_classes(rows: Iterable[Row], pictures: Mapping[str, str]) -> dict[str, list[str]]:
    """The pictures that stand under more than one class -> their paths."""
    copies: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        copies[pictures[row.path]].append(row)
    return {
        picture: [row.path for row in group]
        for picture, group in copies.items()
        if len({row.label for row in group}) > 1
    }


def overlaps(
    how: Literal["error", "report"],
    development: Sequence[Row],
    others: Mapping[str, Sequence[Row]],
    pictures: Mapping[str, str],
) -> list[str]:
    """Lines about pictures that are in several places.

    Args:
        how: whether those that test shares with train or held-out are an error.
        development: train and held-out.
        others: test and the shifts by name.
        pictures: path -> digest of the picture.

    Raises:
        DataError: by `how`.
    """
    lines = []
    train = [row for row in development if row.split == "train"]
    several = several_classes(train, pictures)
    if several:
        listed = some([" and ".join(paths) for paths in several.values()], SHOWN)
        lines.append(f"train: {len(several)} pictures stand under several classes: {listed}")
    copies = len(development) - len({pictures[row.path] for row in development})
    if copies:
        lines.append(f"train: {copies} images are copies of others")
    heldout = [row for row in development if row.split == "heldout"]
    lines += _shared("held-out", heldout, train, "train", pictures)
    for split, rows in others.items():
        shared = _shared(split, rows, development, "train or held-out", pictures)
        if shared and split == "test" and how == "error":
            raise DataError(
                f"{shared[0]}; take them out of one of the two, or set data.overlap: report, and "
                "they count all the same"
            )
        lines += shared
    return lines


def _shared(
    split: str,
    rows: Sequence[Row],
    others: Iterable[Row],
    where: str,
    pictures: Mapping[str, str],
) -> list[str]:
    path_of = {pictures[row.path]: row.path for row in others}
    both = [f"{r.path} is {path_of[p]}" for r in rows if (p := pictures[r.path]) in path_of]
    if not both:
        return []
    number = f"{len(both)} of {len(rows)} images"
    return [f"{split}: {number} are pictures of {where} too: {some(both, SHOWN)}"]
