"""Listing the images of a source: a folder, tar archives, webdataset shards, a list or a data set.

What is at the source's path decides how the source is read. Every kind of source gives a `Listed`,
so that no other module depends on the kind.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from soup.config.data import Source
from soup.data.errors import DataError
from soup.data.reading import hugging_face, image_file
from soup.data.sources import tar_listing
from soup.data.sources.bounds import Bounds
from soup.data.sources.folders import (
    Found,
    Problem,
    all_below,
    is_image,
    kinds,
    not_read,
    relative,
    scan,
    without_images,
)
from soup.data.sources.labels import labelled
from soup.data.sources.lists import SUFFIXES, Line, read_list, text_lines
from soup.errors import some

State = tuple[str, int, int]


@dataclass(frozen=True)
class Listed:
    """The images of one source.

    Attributes:
        found: the images and their labels, sorted by path.
        misplaced: the images without a class, sorted by path.
        inside: path -> path within the source; a folder and an archive of it give the same.
        numbered: whether the labels are numbers, written with five digits, instead of names; before
            `listed` has looked at them: whether they may be.
        files: the files that the listing was read from, other than images.
        state: for a Hugging Face data set, a text that changes when the data set changes.
    """

    found: list[Found]
    misplaced: list[Problem] = field(default_factory=list)
    inside: Callable[[str], str] = lambda path: path
    numbered: bool = False
    files: tuple[Path, ...] = ()
    state: str = ""


def listed(source: Source, root: Path, part: str, roots: Sequence[str] = ()) -> Listed:
    """The images of a source.

    Args:
        source: where the images are, and how they are labelled.
        root: the folder that paths are relative to.
        part: 'train', 'heldout', 'test' or a shift's name; the split of a list or data set that is
            read unless the source names another one.
        roots: further folders that the paths of a list may lead to, relative to `root` or absolute.

    Raises:
        DataError: the source is missing or cannot be used; the message says what to do.
    """
    path = root / source.path
    if source.path.startswith(hugging_face.PREFIX):
        listing = _data_set(source.path.removeprefix(hugging_face.PREFIX), source.split or part)
    elif path.is_file() and path.suffix.lower() in SUFFIXES:
        listing = _list(path, root, source, part, roots)
    elif archives := _archives(path, root, source.path):
        listing = _tars(archives, root, source)
    elif path.is_file():
        raise DataError(
            f"{path} is none of what images are read from: a folder, a .tar, a folder or pattern "
            f"of .tar files, a list ({', '.join(SUFFIXES)}), or {hugging_face.PREFIX}NAME"
        )
    elif source.labels:
        if not path.is_dir():
            raise DataError(f"{path} is not a folder")
        files = [relative(file, root) for file in all_below(path)]
        images = [file for file in files if is_image(PurePosixPath(file))]
        listing = _flat(images, root, source.labels, ())
        listing = replace(listing, misplaced=not_read(files))
    else:
        found, misplaced = scan(root, source.path)
        if part in ("train", "heldout", "test"):  # a shift may have other folders, as ObjectNet has
            labels = {image.label for image in found}
            misplaced = without_images(root, source.path, labels, misplaced)
        base = "" if path.resolve() == root.resolve() else relative(path, root) + "/"
        listing = Listed(found, misplaced, lambda name: name.removeprefix(base))
    if part not in ("train", "heldout", "test"):  # a shift as downloaded has mappings and the like
        listing = replace(listing, misplaced=[p for p in listing.misplaced if p.image])
    return _named(listing, root, source)


def states(listing: Listed, root: Path) -> list[State]:
    """Path, size in bytes and time of change (ns) of every file that the listing depends on.

    Raises:
        OSError: a file no longer exists.
    """
    archives: dict[str, None] = {}
    plain = []
    for image in listing.found:
        archive, inside, _ = image.path.partition(image_file.INSIDE)
        if inside and not (root / image.path).is_file():
            archives[archive] = None
        else:
            plain.append(image.path)
    if listing.state:  # the rows of a data set are not files
        return [(listing.state, len(listing.found), 0)]
    files = [relative(file, root) for file in listing.files]
    stats = ((path, (root / path).stat()) for path in [*plain, *archives, *files])
    return [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]


def by_number(
    images: Sequence[Found], classes: Sequence[str], part: str, errors: list[str]
) -> list[Found]:
    """Images whose labels are numbers, with the names of train's classes instead.

    A number is the name of a class if the names of all of train's classes are numbers; otherwise it
    is a position among train's classes.

    Args:
        classes: names of train's classes, sorted.
        part: name of the split, for the message.
        errors: a message is appended if a number stands for no class.
    """
    numbers = all(name.isdecimal() for name in classes)
    name_of = {int(name): name for name in classes} if numbers else dict(enumerate(classes))
    wrong = sorted({int(f.label) for f in images if int(f.label) not in name_of})
    if wrong:
        errors.append(
            f"{part}: labels out of range: {some(wrong, 20)}; train has {len(name_of)} classes, "
            f"{min(name_of)} to {max(name_of)}"
        )
    return [Found(f.path, name_of[int(f.label)]) for f in images if int(f.label) in name_of]


def _named(listing: Listed, root: Path, source: Source) -> Listed:
    """The listing sorted, with names for numbers if the source has a file of class names."""
    found = sorted(listing.found, key=lambda f: f.path)
    misplaced = sorted(listing.misplaced, key=lambda p: p.path)
    listing = replace(listing, found=found, misplaced=misplaced)
    if not listing.numbered and source.classes is None:
        return listing
    if not all(_is_number(f.label) for f in found):
        return replace(listing, numbered=False)
    file = root / source.classes if source.classes is not None else None
    names = text_lines(file) if file else None
    if names is not None and ("" in names or len(set(names)) < len(names)):
        twice = sorted(name for name, count in Counter(names).items() if name and count > 1)
        raise DataError(f"{file}: one class a line, each once: {', '.join(twice) or 'empty line'}")
    count = len(names) if names is not None else sys.maxsize
    wrong = [f"{f.path} ({f.label})" for f in found if not 0 <= int(f.label) < count]
    if wrong:
        allowed = f"{file} names {count} classes, 0 to {count - 1}" if file else "below 0"
        raise DataError(
            f"{source.path}: labels out of range, {allowed}: {some(wrong, 20, last=' ')}"
        )
    named = [Found(f.path, names[int(f.label)] if names else f"{int(f.label):05d}") for f in found]
    files = (*listing.files, file) if file else listing.files
    return replace(listing, found=named, numbered=not file, files=files)


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _archives(path: Path, root: Path, written: str) -> list[Path]:
    """The tar files of a path or pattern; none if the path is something else.

    Args:
        written: the path as the parameters have it, relative to `root` or absolute.
    """
    if path.is_file():
        # Compressed archives are included: they are refused later, with a message that says why.
        packed = {".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".zip"}
        return [path] if packed.intersection(path.suffixes) else []
    if any(sign in written for sign in "*?[") and not path.exists():
        start = Path(path.anchor) if Path(written).is_absolute() else root
        matches = sorted(start.glob(Path(written).relative_to(Path(written).anchor).as_posix()))
        if not matches:
            raise DataError(f"no file is called {path}")
        return matches
    return sorted(f for f in path.glob("*.tar") if f.is_file() and not f.name.startswith("."))


def _tars(archives: list[Path], root: Path, source: Source) -> Listed:
    if source.labels:
        paths = [
            f"{relative(tar, root)}{image_file.INSIDE}{name}"
            for tar in archives
            for name in tar_listing.pictures(tar)
        ]
        flat = _flat(paths, root, source.labels, (*archives,))
        return replace(flat, misplaced=tar_listing.others(archives, root))
    found, misplaced = tar_listing.by_sample(archives, root)
    around: dict[str, str] = {}
    by_archive = False
    if not found:
        found, misplaced, around, by_archive = tar_listing.by_folder(archives, root)
    others = tar_listing.others(archives, root, labelled=not around)
    if not found:
        seen = f", only images in no class folder, such as {misplaced[0].path}" if misplaced else ""
        there = f"; it holds {kinds(p.path for p in others)}" if others else ""
        raise DataError(
            f"no images of a class in {root / source.path}{seen}: expected <class>/<image>, or a "
            f"label beside each image (.cls, .txt), or a file with the 'labels'{there}"
        )

    def inside(path: str) -> str:
        tar, _, name = path.partition(image_file.INSIDE)
        within = name.removeprefix(around.get(tar, ""))
        return within if "/" in within and not by_archive else f"{PurePosixPath(tar).stem}/{within}"

    left_out = [*misplaced, *others]
    return Listed(found, left_out, inside, numbered=not around, files=tuple(archives))


def _flat(paths: list[str], root: Path, labels: str, files: tuple[Path, ...]) -> Listed:
    """Images outside class folders, with the labels of a file or folder."""
    file = root / labels
    if not paths:
        raise DataError(f"no images for the labels of {file}")
    found = [Found(p, label) for p, label in zip(paths, labelled(paths, file), strict=True)]
    watched = sorted(p for p in file.rglob("*") if p.is_file()) if file.is_dir() else [file]
    return Listed(found, numbered=True, files=(*files, *watched))


def _list(file: Path, root: Path, source: Source, part: str, roots: Sequence[str]) -> Listed:
    """The images of a list, whose paths are relative to the list's folder or to the root."""
    lines = read_list(file, source.columns, source.split or part)
    _require_no_rows(file, lines)
    bounds = Bounds.of(file.parent, root, *(root / path for path in roots))
    leads_out, first = bounds.leads_out(), lines[0].path
    bases = [b for b in (file.parent, root) if not leads_out(b, first) and _exists(b / first)]
    base = bases[0] if bases else file.parent
    outside = [
        f"line {n.number}: {n.path!r}{target}" for n in lines if (target := leads_out(base, n.path))
    ]
    if outside:
        raise DataError(
            f"{file} names {len(outside)} of {len(lines)} images outside of "
            f"{some(bounds.folders, 5, last=' ')}; to allow it, name their folders in data.roots:"
            "\n  " + some(outside, 20, "\n  ")
        )
    missing = [f"line {n.number}: {n.path}" for n in lines if not _exists(base / n.path)]
    if missing:
        raise DataError(
            f"{file} names {len(missing)} of {len(lines)} images that are not there, relative to "
            f"{base}:\n  " + some(missing, 20, "\n  ")
        )
    found = [Found(relative(base / line.path, root), line.label) for line in lines]
    return Listed(found, numbered=True, files=(file,))


def _require_no_rows(file: Path, lines: Sequence[Line]) -> None:
    rows = [
        f"line {n.number}: {n.path}"
        for n in lines
        if hugging_face.row(Path("/") / n.path) is not None
    ]
    if rows:
        raise DataError(
            f"{file} names rows of data sets, which only the parameters may, as "
            f"{hugging_face.PREFIX}NAME:\n  " + some(rows, 20, "\n  ")
        )


def _exists(path: Path) -> bool:
    try:
        return os.path.isfile(path) or bool(image_file.size_in_bytes(path))  # noqa: PTH113
    except (OSError, ValueError):
        return False


def _data_set(name: str, split: str) -> Listed:
    labels, numbered = hugging_face.labels(name, split)
    found = [Found(hugging_face.path_of(name, split, i), label) for i, label in enumerate(labels)]
    return Listed(found, numbered=numbered, state=hugging_face.state(name, split))
