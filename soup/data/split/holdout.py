"""Which of train's images are held out: by a hash, by a published index, or as a set of its own.

The default is a hash of the image's path. The published index of ImageNet (`imagenet_98_idxs.npy`,
a mask over 1,281,167 positions that holds out 26 images a class) gives positions in a sorted
listing: it selects other images as soon as one file is missing, added or renamed. Therefore the
number of images, the number held out in each class and the name of one image are checked, as the
index's authors do.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from soup import limits
from soup.config.data import HeldOut
from soup.data.array_file import parse_array
from soup.data.errors import DataError
from soup.data.sources.folders import Found
from soup.data.sources.lists import text_lines
from soup.data.split.manifest import Row
from soup.data.split.overlap import several_classes
from soup.errors import some
from soup.files import read_bytes

Inside = Callable[[str], str]
# Images in train, a position among the held-out images, and the name there (model-soups, utils.py).
PUBLISHED = (1_281_167, 1000, "n01675722_4108.JPEG")


def by_hash(
    rows: Sequence[Row], how: HeldOut, inside: Inside, pictures: Mapping[str, str]
) -> list[Row]:
    """Hold out the images of each class whose path inside the source has the lowest hash.

    A hash of the path, unlike a position in a listing, is the same on every file system. All copies
    of a picture are on one side: those of several classes in train, those of one class where the
    lowest of their hashes puts them, unless they are more than are still to be held out.

    Args:
        how: its 'per_class' or 'fraction' says how many.
        inside: path -> path within the source.
        pictures: path -> digest of the picture.

    Returns:
        All rows, sorted, each with its split.

    Raises:
        DataError: a class has too few images.
    """
    by_class: dict[str, list[Row]] = {}
    for row in rows:
        by_class.setdefault(row.label, []).append(row)
    stay = several_classes(rows, pictures)
    split: list[Row] = []
    short: list[str] = []
    for label, images in sorted(by_class.items()):
        count = how.per_class or max(1, round((how.fraction or 0) * len(images)))
        copies: dict[str, list[Row]] = {}
        for row in sorted(images, key=lambda r: hashlib.sha256(inside(r.path).encode()).digest()):
            if pictures[row.path] not in stay:
                copies.setdefault(pictures[row.path], []).append(row)
        held: list[Row] = []
        for group in copies.values():
            held += group if len(held) + len(group) <= count else []
        held = held or min(copies.values(), key=len, default=[])
        if not held or max(count, len(held)) >= len(images):
            short.append(f"{label} ({len(images)})")
        aside = {row.path for row in held}
        split += [replace(r, split="heldout" if r.path in aside else "train") for r in images]
    if short:
        wanted = f"{how.per_class} a class" if how.per_class else f"a share of {how.fraction}"
        raise DataError(
            f"too few images to hold out {wanted} and still train: {some(short, 20)}; "
            "lower data.heldout or add images"
        )
    return sorted(split)


def by_index(
    rows: Sequence[Row], found: Sequence[Found], how: HeldOut, root: Path, inside: Inside
) -> list[Row]:
    """Hold out the images that an index names, by position or by path.

    Args:
        rows: train's images that can be used.
        found: all of train's images, which positions refer to.
        how: its 'index' is a file; 'per_class' is checked if it is given.
        root: what the index's path is relative to.
        inside: path -> path within the source.

    Returns:
        All rows, sorted, each with its split.

    Raises:
        DataError: the index does not match the images.
    """
    file = root / (how.index or "")
    listing = sorted(found, key=lambda f: (f.label, inside(f.path)))
    held = _chosen(_read_index(file), listing, file, inside)
    if len(listing) == PUBLISHED[0] and len(held) > PUBLISHED[1]:
        guard = held[PUBLISHED[1]].path
        if not guard.endswith(PUBLISHED[2]):
            raise DataError(
                f"{file} does not match these images: held-out image {PUBLISHED[1]} is {guard}, "
                f"and was {PUBLISHED[2]} where the index was made; a file was added or renamed"
            )
    counts, whole = Counter(f.label for f in held), Counter(f.label for f in listing)
    if how.per_class:
        odd = [f"{c} ({counts[c]})" for c in sorted(whole) if counts[c] != how.per_class]
        if odd:
            raise DataError(
                f"{file} does not match these images: it should hold out {how.per_class} of each "
                f"class, and does not of {some(odd, 20)}; a file may be missing or added in train"
            )
    return _aside(rows, {f.path for f in held}, str(file))


def apart(
    train: Sequence[Row],
    held: Sequence[Row],
    inside: Inside,
    inside_held: Inside,
    pictures: Mapping[str, str],
) -> tuple[list[Row], int, int]:
    """Hold out a set of its own; pictures that train has too no longer train.

    Args:
        pictures: path -> digest of the picture.

    Returns:
        All rows, sorted; how many images were taken from train; and how many others of train have
        class and path inside their source of a held-out one, as where each split is numbered.

    Raises:
        DataError: a class is left without a training image.
    """
    names = {(r.label, inside_held(r.path)) for r in held}
    shown = {pictures[row.path] for row in held}
    same = {row.path for row in train if pictures[row.path] in shown}
    alike = sum((r.label, inside(r.path)) in names for r in train if r.path not in same)
    kept = [row for row in _aside(train, same, "data.heldout.folder") if row.split == "train"]
    return sorted([*kept, *(replace(row, split="heldout") for row in held)]), len(same), alike


def _aside(rows: Sequence[Row], held: set[str], by: str) -> list[Row]:
    split = [replace(r, split="heldout" if r.path in held else "train") for r in rows]
    lost = {r.label for r in split} - {r.label for r in split if r.split == "train"}
    if lost:
        raise DataError(f"{by} leaves no image to train on of {some(sorted(lost), 20)}")
    if not any(r.split == "heldout" for r in split) and by != "data.heldout.folder":
        raise DataError(f"{by} holds out none of the images that can be used")
    return sorted(split)


def _read_index(file: Path) -> list[str] | list[int]:
    if file.suffix.lower() != ".npy":
        lines = text_lines(file)
        return [int(line) for line in lines] if all(x.isdecimal() for x in lines) else lines
    try:
        array: Any = parse_array(read_bytes(file, limits.INDEX_BYTES))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read as an index: {error}") from None
    if array.ndim != 1 or array.dtype.kind not in "iufb" or (array % 1).any() or (array < 0).any():
        raise DataError(f"{file} is no index: a list of whole numbers was expected")
    numbers: list[int] = array.astype(np.int64).tolist()
    return numbers


def _chosen(
    index: list[str] | list[int], order: Sequence[Found], file: Path, inside: Inside
) -> list[Found]:
    """The images that an index names, in the index's order; those of a mask in the listing's."""
    if not index:
        raise DataError(f"{file} is empty")
    named: Mapping[Any, Found] = dict(enumerate(order))
    without = f"beyond train's {len(order)} images"
    if isinstance(index[0], str):
        named = {inside(f.path): f for f in order} | {f.path: f for f in order}
        without = "not in train"
    elif set(index) <= {0, 1} and len(index) > 2:
        if len(index) != len(order):
            raise DataError(
                f"{file} does not match these images: it is a mask of {len(index)} positions, "
                f"train has {len(order)} images; a file is missing or added"
            )
        return [image for image, is_held in zip(order, index, strict=True) if is_held]
    unknown = [entry for entry in index if entry not in named]
    held = [named[entry] for entry in index if entry in named]
    twice = [image.path for image, count in Counter(held).items() if count > 1]
    if unknown or twice:
        lines = [f"{file} does not match these images:"]
        lines += [f"  {without}: {some(unknown, 20)}"] if unknown else []
        lines += [f"  more than once: {some(twice, 20)}"] if twice else []
        raise DataError("\n".join(lines))
    return held
