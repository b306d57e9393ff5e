"""ReaL: reassessed labels of ImageNet's validation images, several for an image.

Beyer et al., "Are we done with ImageNet?", 2020 (arXiv 2006.07159). `real.json` is a list of label
lists in the order of the validation images. An answer is right if it is among the image's labels;
images without a label are left out.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from soup.data.errors import DataError
from soup.data.shifts.imagenet import CLASSES, recognised
from soup.data.shifts.protocol import join_labels
from soup.errors import some
from soup.files import read_json

NUMBER = re.compile(r"ILSVRC2012_val_(\d{8})")


def labels(file: Path, paths: Iterable[str], classes: Sequence[str]) -> dict[str, str]:
    """Path of a test image -> its ReaL labels under train's names, joined by `join_labels`.

    Images of which no label is one of train's classes are left out.

    Args:
        file: `real.json`.
        paths: the test images, under their published names in whatever folders.
        classes: train's.

    Raises:
        DataError: train's classes are not ImageNet's, the file is not such a list, or an image has
            no place in it.
    """
    name_of = recognised(classes)
    sets = _read(file)
    labels_of: dict[str, str] = {}
    strange: list[str] = []
    for path in paths:
        number = NUMBER.match(PurePosixPath(path).name)
        if number is None or not 1 <= int(number[1]) <= len(sets):
            strange.append(path)
            continue
        names = tuple(name_of[p] for p in sorted(set(sets[int(number[1]) - 1])) if p in name_of)
        if names:
            labels_of[path] = join_labels(names)
    if strange:
        raise DataError(
            f"{file} has labels for ILSVRC2012_val_00000001 to {len(sets):08d}; these test images "
            f"are none of them: {some(strange, 10)}"
        )
    return labels_of


def _read(file: Path) -> list[list[int]]:
    try:
        sets = read_json(file)
    except (OSError, ValueError) as error:
        raise DataError(f"data.real: {file} cannot be read: {error}") from None
    if not isinstance(sets, list) or not all(isinstance(image, list) for image in sets):
        raise DataError(f"data.real: {file} must be a list of lists of class positions")
    wrong = [
        f"image {number}: {labels}"
        for number, labels in enumerate(sets, 1)
        if not all(type(label) is int and 0 <= label < CLASSES for label in labels)
    ]
    if wrong:
        raise DataError(
            f"data.real: {file} has labels that are no position below {CLASSES}: {some(wrong, 10)}"
        )
    return sets
