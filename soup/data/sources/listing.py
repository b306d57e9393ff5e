"""Listing the images of a source: a folder, tar archives, webdataset shards, a list or a data set.

The kind of file at the source's path decides how it is read. All kinds give the same `Listed`, so
that no later code depends on the kind.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from soup.config.data import Source
from soup.data.errors import DataError
from soup.data.reading import hugging_face, image_file
from soup.data.sources import tar_listing
from soup.data.sources.folders import Found, Problem, files_below, scan
from soup.data.sources.labels import labelled
from soup.data.sources.lists import SUFFIXES, read_list, text_lines
from soup.errors import some

State = tuple[str, int, int]


@dataclass(frozen=True)
class Listed:
    """The images of one source.

    Attributes:
        found: the images with their labels, sorted by path.
        misplaced: images without a class.
        inside: path -> path within the source, the same for a folder and an archive of it.
        numbered: labels are numbers, written with five digits, not names.
        files: the files, other than images, that the listing was read from.
        state: of a data set that is no file: a text that changes when the data set does.
    """

    found: list[Found]
    misplaced: list[Problem] = field(default_factory=list)
    inside: Callable[[str], str] = lambda path: path
    numbered: bool = False
    files: tuple[Path, ...] = ()
    state: str = ""


def listed(source: Source, root: Path, part: str) -> Listed:
    """List a source's images.

    Args:
        source: where the images are, and how they are labelled.
        root: what paths are relative to.
        part: 'train', 'heldout', 'test' or a shift's name: the split that is taken by default.

    Raises:
        DataError: the source is missing or cannot be used; the message says what to do.
    """
    place = root / source.path
    if source.path.startswith(hugging_face.PREFIX):
        listing = _data_set(source.path.removeprefix(hugging_face.PREFIX), source.split or part)
    elif place.is_file() and place.suffix.lower() in SUFFIXES:
        listing = _list(place, root, source, part)
    elif archives := _archives(place, root, source.path):
        listing = _tars(archives, root, source)
    elif place.is_file():
        raise DataError(
            f"{place} is none of what images are read from: a folder, a .tar, a folder or pattern "
            f"of .tar files, a list ({', '.join(SUFFIXES)}), or {hugging_face.PREFIX}NAME"
        )
    elif source.labels:
        listing = _flat_folder(place, root, source.labels)
    else:
        found, misplaced = scan(root, source.path)
        base = "" if place.resolve() == root.resolve() else tar_listing.relative(place, root) + "/"
        listing = Listed(found, misplaced, lambda path: path.removeprefix(base))
    return _named(listing, root, source)


def states(listing: Listed, root: Path) -> list[State]:
    """Path, size and time of every file that the listing depends on.

    Raises:
        OSError: a file is gone.
    """
    archives: dict[str, None] = {}
    plain = []
    for image in listing.found:
        archive, inside, _ = image.path.partition(image_file.INSIDE)
        if inside and not (root / image.path).is_file():
            archives[archive] = None
        else:
            plain.append(image.path)
    if listing.state:  # the rows of a data set are no files
        return [(listing.state, len(listing.found), 0)]
    files = [tar_listing.relative(file, root) for file in listing.files]
    stats = ((path, (root / path).stat()) for path in [*plain, *archives, *files])
    return [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]


def by_number(
    images: Sequence[Found], classes: Sequence[str], part: str, errors: list[str]
) -> list[Found]:
    """Replace labels that are numbers by train's classes.

    A number is a class's name if all of train's classes are numbers, else a position among them.
    """
    numbers = all(name.isdecimal() for name in classes)
    name_of = {int(name): name for name in classes} if numbers else dict(enumerate(classes))
    wrong = sorted({int(f.label) for f in images if int(f.label) not in name_of})
    if wrong:
        some = ", ".join(map(str, wrong[:20])) + (", ..." if len(wrong) > 20 else "")
        errors.append(
            f"{part}: labels out of range: {some}; train has {len(name_of)} classes, "
            f"{min(name_of)} to {max(name_of)}"
        )
    return [Found(f.path, name_of[int(f.label)]) for f in images if int(f.label) in name_of]


def _named(listing: Listed, root: Path, source: Source) -> Listed:
    """The listing sorted, its numbers replaced by names if the source has a file of names."""
    found = sorted(listing.found, key=lambda f: f.path)
    misplaced = sorted(listing.misplaced, key=lambda p: p.path)
    listing = replace(listing, found=found, misplaced=misplaced)
    if not listing.numbered and source.classes is None:
        return listing
    what = source.path
    if not all(_is_number(f.label) for f in found):
        return replace(listing, numbered=False)
    if source.classes is None:
        negative = [f"{f.path} ({f.label})" for f in found if int(f.label) < 0]
        if negative:
            raise DataError(f"{what}: labels out of range, below 0: {', '.join(negative[:20])}")
        return replace(listing, found=[Found(f.path, f"{int(f.label):05d}") for f in found])
    file = root / source.classes
    names = text_lines(file)
    twice = sorted({name for name in names if names.count(name) > 1}) if len(names) < 10**5 else []
    if twice or "" in names:
        raise DataError(f"{file}: one class a line, each once: {', '.join(twice) or 'empty line'}")
    wrong = [f"{f.path} ({f.label})" for f in found if not 0 <= int(f.label) < len(names)]
    if wrong:
        raise DataError(
            f"{what}: labels out of range, {file} names {len(names)} classes, 0 to "
            f"{len(names) - 1}: {some(wrong, 20, last=' ')}"
        )
    named = [Found(f.path, names[int(f.label)]) for f in found]
    return replace(listing, found=named, numbered=False, files=(*listing.files, file))


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _archives(place: Path, root: Path, written: str) -> list[Path]:
    """The tar files that a path or pattern means; none if the path is something else."""
    if place.is_file():
        return [place] if place.suffix.lower() not in ("", *SUFFIXES) and _may_be_tar(place) else []
    if any(sign in written for sign in "*?[") and not place.exists():
        start = Path(place.anchor) if Path(written).is_absolute() else root
        found = sorted(start.glob(Path(written).relative_to(Path(written).anchor).as_posix()))
        if not found:
            raise DataError(f"no file is called {place}")
        return found
    return sorted(f for f in place.glob("*.tar") if f.is_file() and not f.name.startswith("."))


def _may_be_tar(place: Path) -> bool:
    packed = (".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".zip")
    return any(suffix in packed for suffix in place.suffixes)


def _tars(archives: list[Path], root: Path, source: Source) -> Listed:
    if source.labels:
        paths = [
            f"{tar_listing.relative(tar, root)}{image_file.INSIDE}{name}"
            for tar in archives
            for name in tar_listing.pictures(tar)
        ]
        return _flat(paths, root, source.labels, (*archives,))
    if any(tar_listing.is_labelled(tar) for tar in archives):
        found, misplaced = tar_listing.by_sample(archives, root)
        around: dict[str, str] = {}
    else:
        found, misplaced, around = tar_listing.by_folder(archives, root)
    tar_listing.require_some(found, misplaced, root / source.path)

    def inside(path: str) -> str:
        tar, _, name = path.partition(image_file.INSIDE)
        within = name.removeprefix(around.get(tar, ""))
        return within if "/" in within else f"{PurePosixPath(tar).stem}/{within}"

    numbered = not around and all(_is_number(f.label) for f in found)
    return Listed(found, misplaced, inside, numbered, files=tuple(archives))


def _flat_folder(place: Path, root: Path, labels: str) -> Listed:
    if not place.is_dir():
        raise DataError(f"{place} is not a folder")
    paths = [tar_listing.relative(path, root) for path in files_below(place)]
    return _flat(paths, root, labels, ())


def _flat(paths: list[str], root: Path, labels: str, files: tuple[Path, ...]) -> Listed:
    """Images outside class folders, whose labels are in a file."""
    file = root / labels
    if not paths:
        raise DataError(f"no images for the labels of {file}")
    found = [Found(p, each) for p, each in zip(paths, labelled(paths, file), strict=True)]
    numbered = all(_is_number(f.label) for f in found)
    watched = sorted(p for p in file.rglob("*") if p.is_file()) if file.is_dir() else [file]
    return Listed(found, numbered=numbered, files=(*files, *watched))


def _list(file: Path, root: Path, source: Source, part: str) -> Listed:
    """The images of a list, whose paths are relative to the list's folder or to the root."""
    lines = read_list(file, source.columns, source.split or part)
    bases = [base for base in (file.parent, root) if _exists(base / lines[0].path)]
    base = bases[0] if bases else file.parent
    missing = [f"line {n.number}: {n.path}" for n in lines if not _exists(base / n.path)]
    if missing:
        raise DataError(
            f"{file} names {len(missing)} of {len(lines)} images that are not there, relative to "
            f"{base}:\n  " + some(missing, 20, "\n  ")
        )
    found = [Found(tar_listing.relative(base / line.path, root), line.label) for line in lines]
    seen: dict[str, int] = {}
    twice = [
        f"lines {seen[f.path]} and {line.number}: {f.path}"
        for f, line in zip(found, lines, strict=True)
        if seen.setdefault(f.path, line.number) != line.number
    ]
    if twice:
        raise DataError(f"{file} names an image twice:\n  " + "\n  ".join(twice[:20]))
    return Listed(found, numbered=all(_is_number(f.label) for f in found), files=(file,))


def _exists(path: Path) -> bool:
    try:
        return os.path.isfile(path) or bool(image_file.size_in_bytes(path))  # noqa: PTH113
    except OSError:
        return False


def _data_set(name: str, split: str) -> Listed:
    labels, numbered = hugging_face.labels(name, split)
    found = [Found(hugging_face.path_of(name, split, i), label) for i, label in enumerate(labels)]
    return Listed(found, numbered=numbered, state=hugging_face.state(name, split))
