"""A split's images: decoded once, kept on disk, shared between processes; or read file by file.

Sets whose images are looked at again and again (held-out by every candidate soup, test by every
model) are decoded and resized once into one uint8 array, named by a digest of what is in it and
memory-mapped by whoever needs it (`cache.py`).
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache as once
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from soup.data.errors import DataError
from soup.data.loading.array_cache import DEFAULT_CACHE_GIB, kept
from soup.data.progress import Track, no_progress
from soup.data.reading import image_file
from soup.data.split.prepare import Row
from soup.files import of_value

T = TypeVar("T")
S = TypeVar("S")
Decode = Callable[[Image.Image], Image.Image]
CHUNK = 2048
FIRST = 16


@dataclass(frozen=True)
class Images:
    """Images of one split.

    Attributes:
        pixels: uint8 (examples, height, width, 3), or None when they are not held at one size.
        labels: class indices, int64 (examples,).
        paths: absolute paths, in the same order.
        held: without pixels, where images are in memory at sizes of their own (`memory.py`).
        resize: what an image that is not among pixels goes through when it is read.
        digest: names the images in their order, and what was done to them; '' if nobody did.
        contents: fingerprints when the split was made; a file read must still have its own.
    """

    pixels: NDArray[np.uint8] | None
    labels: NDArray[np.int64]
    paths: tuple[Path, ...]
    held: Sequence[Image.Image] | None = None
    resize: Decode | None = None
    digest: str = ""
    contents: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Image.Image:
        """
        Raises:
            DataError: it is read from its file, and cannot be.
        """
        if self.pixels is not None:
            return Image.fromarray(self.pixels[index])
        if self.held is None:
            content = self.contents[index] if self.contents else None
            image = image_file.image(self.paths[index], content)
        else:
            try:
                image = self.held[index]
            except image_file.BROKEN as error:
                raise DataError(
                    f"{self.paths[index]} cannot be decoded: {error}; run prepare again"
                ) from None
        return image if self.resize is None else self.resize(image)

    def part(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Some images, all of one size after `resize`: uint8 (some, height, width, 3)."""
        if self.pixels is not None:
            return self.pixels[start:stop]
        indices = range(start, min(stop, len(self)))
        return np.stack(in_threads(lambda i: np.asarray(self[i]), indices))

    def stretch(self, start: int, stop: int) -> "Images":
        """Some of them, in the same order."""
        stop = min(stop, len(self))
        return Images(
            None if self.pixels is None else self.pixels[start:stop],
            self.labels[start:stop],
            self.paths[start:stop],
            None if self.held is None else [self.held[index] for index in range(start, stop)],
            self.resize,
            contents=self.contents[start:stop],
        )


def decoded(
    rows: Sequence[Row],
    root: Path,
    classes: Sequence[str],
    resize: Decode,
    how: str,
    cache: Path,
    cache_gib: float = DEFAULT_CACHE_GIB,
    track: Track = no_progress,
) -> Images:
    """The images through `resize`, from the cache or decoded now.

    Args:
        rows: the images, all of one split.
        root: what their paths are relative to.
        classes: class names; position is label.
        resize: PIL image -> PIL image of one size for all.
        how: names what `resize` does; part of the cache's key.
        cache: folder of the decoded arrays.
        cache_gib: what they may take together; a set that has no room is read anew each time.
        track: is told how far it is, if they have to be decoded.

    Raises:
        DataError: an image is missing or is not what it was when the split was made.
    """
    key = digest(rows, root, how)

    def one(row: Row) -> NDArray[np.uint8]:
        return np.asarray(resize(image_file.image(root / row.path, row.content)), dtype=np.uint8)

    def blocks() -> Iterator[NDArray[np.uint8]]:
        with track(f"decoding {rows[0].split}", len(rows)) as advance:
            # The first images alone say how large all will be.
            for start, stop in pairwise([0, *range(FIRST, len(rows), CHUNK), len(rows)]):
                yield np.stack(in_threads(one, rows[start:stop]))
                advance(stop - start)

    otherwise = f"the {len(rows)} images of {rows[0].split} are decoded anew each time"
    pixels = kept(cache / f"{key[:32]}.npy", len(rows), blocks, cache_gib, otherwise)
    read_anew = from_files(rows, root, classes)
    return replace(read_anew, pixels=pixels, resize=resize, digest=key)


def from_files(rows: Sequence[Row], root: Path, classes: Sequence[str]) -> Images:
    """The images, to be read one by one at their own sizes: for sets too large to hold decoded."""
    labels = {name: index for index, name in enumerate(classes)}
    return Images(
        None,
        np.array([labels[r.label] for r in rows], dtype=np.int64),
        tuple(root / r.path for r in rows),
        contents=tuple(r.content for r in rows),
    )


def digest(rows: Sequence[Row], root: Path, how: str) -> str:
    """Names these images in this order, treated in this way."""
    # A size does not tell two images apart, as a digest does; then the place has to.
    sized = any(row.content.endswith("-bytes") for row in rows)
    place = str(root.resolve()) if sized else ""
    return of_value([how, place, [(r.path, r.content) for r in rows]])


def in_threads(work: Callable[[T], S], items: Sequence[T]) -> list[S]:
    """What `work` makes of each; decoding and resizing run outside the interpreter's lock."""
    return [*_threads().map(work, items)]


@once
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count())


if hasattr(os, "register_at_fork"):  # threads are not there in a forked process
    os.register_at_fork(after_in_child=_threads.cache_clear)
