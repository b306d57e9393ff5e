"""Labels in a file, for images outside class folders, such as ImageNet's validation set.

Such files are ImageNet's development kit (ILSVRC2012's own class numbers, 1 to 1000, in the order
of the sorted file names; they are not the positions of the sorted synsets), lines `name label`, one
label a line in the order of the sorted file names, or a CSV with a header.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from soup.data.errors import DataError
from soup.data.sources.devkit import DEVKIT, GROUND_TRUTH, synsets
from soup.data.sources.lists import read_list, text_lines
from soup.errors import some


def labelled(paths: Sequence[str], file: Path) -> list[str]:
    """The label of each image.

    Args:
        paths: of the images, in any order; names are compared without folders and suffix.
        file: of one of the kinds above.

    Raises:
        DataError: labels are missing, are too many, or cannot be read.
    """
    order = sorted(range(len(paths)), key=lambda i: PurePosixPath(paths[i]).name)
    if not file.exists():
        raise DataError(f"{file}, with the labels, does not exist; for ImageNet: {DEVKIT}")
    if file.is_dir() or file.name == GROUND_TRUTH or file.name.endswith((".tar.gz", ".tgz")):
        return _in_order(synsets(file), order, file)
    if file.suffix.lower() == ".txt" and all(len(s.split()) == 1 for s in text_lines(file)):
        return _in_order(text_lines(file), order, file)
    by_name = {_stem(line.path): line.label for line in read_list(file, {}, "")}
    stems = [_stem(path) for path in paths]
    missing = sorted(stem for stem in stems if stem not in by_name)
    unknown = sorted(set(by_name) - set(stems))
    if missing or unknown:
        lines = [f"{file} does not fit the images:"]
        if missing:
            lines.append(f"  without a label: {some(missing, 10, last=' ')}")
        if unknown:
            lines.append(f"  labelled, but no such image: {some(unknown, 10, last=' ')}")
        raise DataError("\n".join(lines))
    return [by_name[stem] for stem in stems]


def _in_order(labels: Sequence[str], order: Sequence[int], file: Path) -> list[str]:
    if len(labels) != len(order):
        raise DataError(
            f"{file} has {len(labels)} labels for {len(order)} images; without names, labels "
            "go by the order of the sorted file names, of which none may be missing"
        )
    by_index = [""] * len(order)
    for label, index in zip(labels, order, strict=True):
        by_index[index] = label
    return by_index


def _stem(path: str) -> str:
    return PurePosixPath(path).name.split(".")[0]
