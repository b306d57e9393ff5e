"""Image folders: which images there are, of which class, and which of them can be used."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Literal, NamedTuple
from unicodedata import normalize

from soup.cores import cores
from soup.data.errors import DataError
from soup.data.reading.formats import IMAGE_SUFFIXES, unread
from soup.data.reading.image_file import examined, fingerprint
from soup.data.reading.limits import Limits
from soup.errors import some

__all__ = ["IMAGE_SUFFIXES", "DataError", "Found", "Problem", "all_below", "check"]
__all__ += ["fingerprint", "is_image", "kinds", "not_read", "relative", "scan", "without_images"]


@dataclass(frozen=True)
class Found:
    """An image: its path relative to the data root, with forward slashes, and its label.

    Letters of the label are composed: a Mac may name a folder by e and an accent for é.
    """

    path: str
    label: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", normalize("NFC", self.label))


class Checked(NamedTuple):
    """An image that can be read, with its fingerprint and its digest (`image_file.examined`)."""

    image: Found
    content: str
    picture: str


@dataclass(frozen=True)
class Problem:
    """An image that is left out, and why; or files that are none (`image` is false)."""

    path: str
    reason: str
    image: bool = True


def relative(path: Path, root: Path) -> str:
    """A path as a manifest has it: relative to the root, with forward slashes."""
    return Path(os.path.relpath(path, root)).as_posix()


def is_image(path: PurePath) -> bool:
    """Whether the suffix of a file is one of the formats that are read."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def all_below(base: Path) -> Iterator[Path]:
    """All files below a folder, in the file system's order; hidden ones are skipped.

    Links to folders are followed, and no folder is read twice: real folders come before links, and
    a link to a folder that contains `base` is not followed.
    """
    read = {folder.stat()[1:3] for folder in base.resolve().parents}  # inode and device
    starts = [base]
    while starts:
        links: list[Path] = []
        for here, folders, files in (entry for start in starts for entry in os.walk(start)):
            identity = Path(here).stat()[1:3]
            folders[:] = [n for n in folders if not n.startswith(".") and identity not in read]
            links += [path for name in folders if (path := Path(here, name)).is_symlink()]
            for name in files if identity not in read else ():
                if not name.startswith("."):
                    yield Path(here, name)
            read.add(identity)
        # A link to a folder that holds the targets of others comes after them, and adds the rest.
        starts = sorted(links, key=lambda link: (-len(link.resolve().parts), link))


def scan(root: Path, folder: str) -> tuple[list[Found], list[Problem]]:
    """All images below `folder/<class>/`, sorted by path, and the files that are left out.

    Raises:
        DataError: the folder does not exist, or holds no image.
    """
    base = root / folder
    if not base.is_dir():
        raise DataError(f"{base} is not a folder; it must hold one folder of images for each class")
    found: list[Found] = []
    misplaced: list[Problem] = []
    others: list[str] = []
    for path in all_below(base):
        name = relative(path, root)
        parts = path.relative_to(base).parts
        if not is_image(path):
            others.append(name)
        elif len(parts) == 1:
            misplaced.append(Problem(name, "misplaced: not inside a class folder"))
        else:
            found.append(Found(name, parts[0]))
    if not found:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        there = f"; it holds {kinds(others)}" if others else ""
        raise DataError(
            f"no images in {base}: expected {base}/<class>/<image>, one of {suffixes}{there}"
        )
    left_out = sorted(misplaced, key=lambda p: p.path) + not_read(others)
    return sorted(found, key=lambda f: f.path), left_out


def not_read(paths: Iterable[str]) -> list[Problem]:
    """Of some files, those that are not read: each picture, and by suffix what is no picture."""
    problems: list[Problem] = []
    others: dict[str, list[str]] = {}
    for path in sorted(paths):
        file = PurePosixPath(path)
        if reason := unread(file):
            problems.append(Problem(path, reason))
        elif not is_image(file):
            others.setdefault(file.suffix.lower(), []).append(path)
    for files in others.values():
        reason = f"no image, as are all {kinds(files)}" if len(files) > 1 else "no image"
        problems.append(Problem(files[0], reason, image=False))
    return problems


def kinds(paths: Iterable[str]) -> str:
    """How many files there are of each suffix."""
    counts = Counter(PurePosixPath(path).suffix.lower() or "without a suffix" for path in paths)
    return some([f"{count} {suffix}" for suffix, count in counts.most_common()], 5)


def without_images(
    root: Path, folder: str, classes: Iterable[str], left_out: Iterable[Problem]
) -> list[Problem]:
    """What is left out, with the class folders that none of the classes with images is named after
    in place of the files inside. Paths as in `scan`."""
    names = {*classes}
    problems = []
    for path in sorted((root / folder).iterdir()):
        if path.is_dir() and not path.name.startswith(".") and path.name not in names:
            what = kinds(str(file) for file in path.rglob("*") if file.is_file())
            reason = f"a class folder without an image that can be read: {what or 'it is empty'}"
            problems.append(Problem(relative(path, root), reason))
    inside = tuple(f"{problem.path}/" for problem in problems)
    return [problem for problem in left_out if not problem.path.startswith(inside)] + problems


def check(
    root: Path,
    found: Iterable[Found],
    how: Literal["decode", "header"],
    advance: Callable[[], object] = lambda: None,
    limits: Limits | None = None,
) -> tuple[list[Checked], list[Problem]]:
    """Check that every image can be read, in parallel.

    Args:
        root: what the images' paths are relative to.
        how: 'decode' decodes each image, 'header' reads its header only.
        advance: called after each image.
        limits: of the size of a picture; None: those of the environment.

    Returns:
        The usable images, and the others with the reason, both in the given order.
    """

    def attempt(image: Found) -> Checked | Problem:
        try:
            return Checked(image, *examined(root / image.path, how, limits))
        except ValueError as error:
            return Problem(image.path, str(error))
        finally:
            advance()

    # Threads suffice: Pillow releases the interpreter's lock while it decodes.
    with ThreadPoolExecutor(min(16, 2 * cores())) as pool:
        results = list(pool.map(attempt, found))
    good = [result for result in results if isinstance(result, Checked)]
    return good, [result for result in results if isinstance(result, Problem)]
