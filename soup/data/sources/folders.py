"""Image folders: which images there are, of which class, and which of them can be used."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from soup.data.errors import DataError
from soup.data.reading.image_file import fingerprint

__all__ = ["IMAGE_SUFFIXES", "DataError", "Found", "Problem"]
__all__ += ["check", "files_below", "fingerprint", "relative", "scan"]
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})


@dataclass(frozen=True)
class Found:
    """An image: its path relative to the data root, with forward slashes, and its label."""

    path: str
    label: str


@dataclass(frozen=True)
class Problem:
    """An image that is left out, and why."""

    path: str
    reason: str


def relative(path: Path, root: Path) -> str:
    """A path as a manifest has it: relative to the root, with forward slashes."""
    return Path(os.path.relpath(path, root)).as_posix()


def files_below(base: Path) -> Iterator[Path]:
    """All image files below a folder, in the file system's order; hidden ones are skipped."""
    for here, folders, files in os.walk(base, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(here, name)
            if not name.startswith(".") and path.suffix.lower() in IMAGE_SUFFIXES:
                yield path


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


def check(
    root: Path,
    found: Iterable[Found],
    how: Literal["decode", "header"],
    advance: Callable[[], object] = lambda: None,
) -> tuple[list[tuple[Found, str]], list[Problem]]:
    """Check that every image can be read, in parallel.

    Args:
        root: what the images' paths are relative to.
        how: 'decode' decodes each image, 'header' reads its header only.
        advance: called after each image.

    Returns:
        The usable images with their fingerprints, and the others with the reason, both in the
        given order.
    """

    def attempt(image: Found) -> str | Problem:
        try:
            return fingerprint(root / image.path, how)
        except ValueError as error:
            return Problem(image.path, str(error))
        finally:
            advance()

    images = list(found)
    # Threads suffice: Pillow releases the interpreter's lock while it decodes.
    with ThreadPoolExecutor(min(16, (os.cpu_count() or 1) * 2)) as pool:
        results = list(pool.map(attempt, images))
    good = [(i, r) for i, r in zip(images, results, strict=True) if isinstance(r, str)]
    return good, [r for r in results if isinstance(r, Problem)]
