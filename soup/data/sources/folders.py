"""Image folders: which images there are, of which class, and which of them can be used."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from soup.data.errors import DataError
from soup.data.reading.image_file import examined, fingerprint
from soup.errors import some

__all__ = ["IMAGE_SUFFIXES", "DataError", "Found", "Problem"]
__all__ += ["check", "files_below", "fingerprint", "relative", "scan", "without_images"]
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})


@dataclass(frozen=True)
class Found:
    """An image: its path relative to the data root, with forward slashes, and its label."""

    path: str
    label: str


class Checked(NamedTuple):
    """An image that can be read, with its fingerprint and its digest (`image_file.examined`)."""

    image: Found
    content: str
    picture: str


@dataclass(frozen=True)
class Problem:
    """An image that is left out, and why."""

    path: str
    reason: str


def relative(path: Path, root: Path) -> str:
    """A path as a manifest has it: relative to the root, with forward slashes."""
    return Path(os.path.relpath(path, root)).as_posix()


def files_below(base: Path) -> Iterator[Path]:
    """All image files below a folder, in the file system's order; hidden ones are skipped.

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
                path = Path(here, name)
                if not name.startswith(".") and path.suffix.lower() in IMAGE_SUFFIXES:
                    yield path
            read.add(identity)
        # A link to a folder that holds the targets of others comes after them, and adds the rest.
        starts = sorted(links, key=lambda link: (-len(link.resolve().parts), link))


def scan(root: Path, folder: str) -> tuple[list[Found], list[Problem]]:
    """All images below `folder/<class>/`, sorted by path, and those outside a class folder.

    Raises:
        DataError: the folder does not exist, or holds no image.
    """
    base = root / folder
    if not base.is_dir():
        raise DataError(f"{base} is not a folder; it must hold one folder of images for each class")
    found: list[Found] = []
    misplaced: list[Problem] = []
    for path in files_below(base):
        name = relative(path, root)
        parts = path.relative_to(base).parts
        if len(parts) == 1:
            misplaced.append(Problem(name, "misplaced: not inside a class folder"))
        else:
            found.append(Found(name, parts[0]))
    if not found:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"no images in {base}: expected {base}/<class>/<image>, one of {kinds}")
    return sorted(found, key=lambda f: f.path), sorted(misplaced, key=lambda p: p.path)


def without_images(root: Path, folder: str, classes: Iterable[str]) -> list[Problem]:
    """The class folders that none of the classes with images is named after. Paths as in `scan`."""
    names = {*classes}
    problems = []
    for path in sorted((root / folder).iterdir()):
        if path.is_dir() and not path.name.startswith(".") and path.name not in names:
            kinds = Counter(file.suffix.lower() for file in path.rglob("*") if file.is_file())
            what = some([f"{count} {kind}" for kind, count in kinds.most_common()], 5)
            reason = f"a class folder without an image that can be read: {what or 'it is empty'}"
            problems.append(Problem(relative(path, root), reason))
    return problems


def check(
    root: Path,
    found: Iterable[Found],
    how: Literal["decode", "header"],
    advance: Callable[[], object] = lambda: None,
) -> tuple[list[Checked], list[Problem]]:
    """Check that every image can be read, in parallel.

    Args:
        root: what the images' paths are relative to.
        how: 'decode' decodes each image, 'header' reads its header only.
        advance: called after each image.

    Returns:
        The usable images, and the others with the reason, both in the given order.
    """

    def attempt(image: Found) -> Checked | Problem:
        try:
            return Checked(image, *examined(root / image.path, how))
        except ValueError as error:
            return Problem(image.path, str(error))
        finally:
            advance()

    # Threads suffice: Pillow releases the interpreter's lock while it decodes.
    with ThreadPoolExecutor(min(16, (os.cpu_count() or 1) * 2)) as pool:
        results = list(pool.map(attempt, found))
    good = [result for result in results if isinstance(result, Checked)]
    return good, [result for result in results if isinstance(result, Problem)]
