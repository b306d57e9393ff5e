"""Labels in a file, for images outside class folders, such as ImageNet's validation set.

Such files are ImageNet's development kit (ILSVRC2012's own class numbers, 1 to 1000, in the order
of the sorted file names; they are not the positions of the sorted synsets), lines `path label`, one
label a line in the order of the sorted file names, or a CSV with a header.
"""

import posixpath
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath

from soup.data.errors import DataError
from soup.data.reading.image_file import INSIDE
from soup.data.sources.devkit import DEVKIT, GROUND_TRUTH, synsets
from soup.data.sources.folders import is_image
from soup.data.sources.lists import Line, read_list, text_lines
from soup.errors import some


def labelled(paths: Sequence[str], file: Path) -> list[str]:
    """The label of each image.

    Args:
        paths: of the images, in any order. A name in the file stands for the image whose path ends
            in it; its folders, and the image's suffix, may be left out or be others where the name
            is of one image alone.
        file: of one of the kinds above.

    Raises:
        DataError: labels are missing, are too many, cannot be read, or stand for several images; or
            an image has several.
    """
    if not file.exists():
        raise DataError(f"{file}, with the labels, does not exist; for ImageNet: {DEVKIT}")
    if file.is_dir() or file.name == GROUND_TRUTH or file.name.endswith((".tar.gz", ".tgz")):
        return _in_order(synsets(file), paths, file)
    if file.suffix.lower() == ".txt" and all(len(s.split()) == 1 for s in text_lines(file)):
        return _in_order(text_lines(file), paths, file)
    return _by_name(read_list(file, {}, ""), paths, file)


def _by_name(lines: Sequence[Line], paths: Sequence[str], file: Path) -> list[str]:
    images: defaultdict[str, list[str]] = defaultdict(list)
    named: defaultdict[str, list[Line]] = defaultdict(list)
    for path in paths:
        images[_stem(path)].append(path)
    for line in lines:
        named[_stem(line.path)].append(line)
    line_of: dict[str, Line] = {}
    unknown: list[str] = []
    several: list[str] = []
    for stem, rows in named.items():
        ending: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
        for path in sorted(images.get(stem, ()), key=lambda path: path.count("/")):
            for end in _ends(path):
                ending[end].append(path)
        for line in rows:
            fits = next((ending[end] for end in _ends(line.path) if end in ending), [])
            shortest = [path for path in fits if path.count("/") == fits[0].count("/")]
            if not shortest:
                unknown.append(line.path)
            elif len(shortest) > 1:
                several.append(f"{line.path} stands for {some(shortest, 3)}")
            elif (other := line_of.setdefault(shortest[0], line)).label != line.label:
                both = f"{other.path} as {other.label} and {line.path} as {line.label}"
                several.append(f"{shortest[0]} is {both}")
    missing = [path for path in paths if path not in line_of] if not several else []
    problems = {
        "without a label": missing,
        "labelled, but no such image": unknown,
        "not told apart by their names (write folders and suffixes too)": several,
    }
    if any(problems.values()):
        lists = [
            f"\n  {what}: {some(sorted(which), 10, last=' ')}"
            for what, which in problems.items()
            if which
        ]
        raise DataError(f"{file} does not fit the images:{''.join(lists)}")
    return [line_of[path].label for path in paths]


def _in_order(labels: Sequence[str], paths: Sequence[str], file: Path) -> list[str]:
    order = sorted(paths, key=lambda path: PurePosixPath(path).name)
    if len(labels) != len(order):
        raise DataError(
            f"{file} has {len(labels)} labels for {len(order)} images; without names, labels "
            "go by the order of the sorted file names, of which none may be missing"
        )
    alike = [
        f"{first} and {second}"
        for first, second in pairwise(order)
        if PurePosixPath(first).name == PurePosixPath(second).name
    ]
    if alike:
        raise DataError(
            f"{file} has labels without names, which go by the order of the sorted file names, and "
            f"images share a name: {some(sorted(alike), 5)}; write lines of 'path label'"
        )
    label_of = dict(zip(order, labels, strict=True))
    return [label_of[path] for path in paths]


def _ends(path: str) -> Iterator[tuple[str, ...]]:
    """What a path may be written as: without its first folders, longest first, and no suffix."""
    parts = PurePosixPath(posixpath.normpath(path.replace(INSIDE, "/"))).parts
    for start in range(len(parts)):
        yield parts[start:]
        yield (*parts[start:-1], _stem(path))


def _stem(path: str) -> str:
    """The name without an image's suffix."""
    name = PurePosixPath(path)
    return name.stem if is_image(name) else name.name
