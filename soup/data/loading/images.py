"""The images of a split: decoded once into an array on disk, or read file by file.

Held-out images are used by every candidate soup, test images by every model. They are decoded and
resized once into a uint8 array, named by a digest of its content, which every process maps into
its memory (`array_cache.py`).
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

from soup.cores import cores
from soup.data.errors import Unreadable
from soup.data.loading.image_store import ImageStore
from soup.data.reading import image_file
from soup.data.reading.limits import Limits
from soup.data.split.manifest import Row
from soup.errors import some
from soup.files import of_code, of_libraries, of_value

T = TypeVar("T")
S = TypeVar("S")
Decode = Callable[[Image.Image], Image.Image]
CHUNK = 2048
FIRST = 16
TOGETHER = 32


@dataclass(frozen=True)
class Images:
    """Images of one split.

    Attributes:
        pixels: uint8 (examples, height, width, 3), or None when they are not held at one size.
        labels: class indices, int64 (examples,).
        paths: absolute paths, in the same order.
        held: gives an image by its index from memory, at its own size (`packed.py`); None if the
            images are not in memory, or if there are pixels.
        resize: applied to an image that is read from a file or from `held`.
        digest: names the images, their order and how they were resized; '' if it is not known.
        contents: fingerprints when the split was made; a file that is read must still have its own.
        limits: of the size of a picture that is read from a file.
    """

    pixels: NDArray[np.uint8] | None
    labels: NDArray[np.int64]
    paths: tuple[Path, ...]
    held: Callable[[int], Image.Image] | None = None
    resize: Decode | None = None
    digest: str = ""
    contents: tuple[str, ...] = ()
    limits: Limits | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Image.Image:
        """One image.

        Raises:
            Unreadable: the image cannot be decoded.
            DataError: its file is missing or has changed.
        """
        if self.pixels is not None:
            return Image.fromarray(self.pixels[index])
        if self.held is None:
            content = self.contents[index] if self.contents else None
            image = image_file.image(self.paths[index], content, self.limits)
        else:
            try:
                image = self.held(index)
            except image_file.BROKEN as error:
                raise Unreadable(
                    f"{self.paths[index]} cannot be decoded: {error}; run prepare again"
                ) from None
        if self.resize is None:
            return image
        whose = str(self.paths[index]) if self.paths else f"image {index}"
        return _resized(image, self.resize, whose)

    def part(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Some images, all of one size after `resize`: uint8 (images, height, width, 3)."""
        if self.pixels is None:
            return np.stack(in_threads(lambda i: np.asarray(self[i]), indices.tolist()))
        if len(indices) and (np.diff(indices) == 1).all():  # a view, not a copy
            return self.pixels[indices[0] : indices[-1] + 1]
        return self.pixels[indices]


def decoded(
    store: ImageStore, rows: Sequence[Row], classes: Sequence[str], resize: Decode, how: str
) -> Images:
    """The images through `resize`, from the cache or decoded now.

    Images for which the cache has no room are read from their files each time.

    Args:
        rows: the images, all of one split.
        classes: class names; position is label.
        resize: PIL image -> PIL image of one size for all.
        how: names what `resize` does; part of the cache's key.

    Raises:
        Unreadable: images cannot be decoded; all of them are named.
        DataError: an image is missing or is not what it was when the split was made.
    """
    key, root = digest(rows, store.root, how), store.root
    unreadable: list[str] = []

    def read(row: Row) -> NDArray[np.uint8] | None:
        try:
            image = image_file.image(root / row.path, row.content, store.limits)
            return np.asarray(_resized(image, resize, str(root / row.path)), dtype=np.uint8)
        except Unreadable as error:
            unreadable.append(str(error))
            return None

    def blocks() -> Iterator[NDArray[np.uint8]]:
        with store.progress(f"decoding {rows[0].split}", len(rows)) as advance:
            for part in row_parts(rows):
                pixels = [image for image in in_threads(read, part) if image is not None]
                if not unreadable:
                    yield np.stack(pixels)
                advance(len(part))
        if unreadable:
            raise Unreadable(some(sorted(unreadable), 20, "\n"))

    otherwise = f"the {len(rows)} images of {rows[0].split} are decoded anew each time"
    pixels = store.array(key, len(rows), blocks, otherwise)
    from_disk = from_files(rows, root, classes, store.limits)
    return replace(from_disk, pixels=pixels, resize=resize, digest=key)


def _resized(image: Image.Image, resize: Decode, whose: str) -> Image.Image:
    try:
        return resize(image)
    except ValueError as error:  # it is nothing but border, for example
        raise Unreadable(f"{whose} cannot be used: {error}") from None


def row_parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """The rows in parts. The first part is small: it shows whether the cache has room for all."""
    for start, stop in pairwise([0, *range(FIRST, len(rows), CHUNK), len(rows)]):
        yield rows[start:stop]


def from_files(
    rows: Sequence[Row], root: Path, classes: Sequence[str], limits: Limits | None = None
) -> Images:
    """The images, each read from its file when it is asked for, at its own size."""
    return Images(
        None,
        labels_of(rows, classes),
        tuple(root / r.path for r in rows),
        contents=tuple(r.content for r in rows),
        limits=limits,
    )


def labels_of(rows: Sequence[Row], classes: Sequence[str]) -> NDArray[np.int64]:
    """Class indices (images,): positions of the rows' labels among the class names."""
    position = {name: index for index, name in enumerate(classes)}
    return np.array([position[row.label] for row in rows], dtype=np.int64)


def digest(rows: Sequence[Row], root: Path, how: str) -> str:
    """Names these images in this order, treated in this way by the present code."""
    # A fingerprint that is only a size does not tell two images apart; the folder then has to.
    sized = any(row.content.endswith("-bytes") for row in rows)
    folder = str(root.resolve()) if sized else ""
    code = [of_code("soup.data.loading", "soup.data.reading"), of_libraries("pillow")]
    return of_value([code, how, folder, [(row.path, row.content) for row in rows]])


def in_threads(work: Callable[[T], S], items: Sequence[T]) -> list[S]:
    """`work` applied to each item; decoding and resizing release the interpreter's lock.

    A thread takes several items at a time: to wake it takes as long as to decode a small picture.
    """
    size = max(1, min(TOGETHER, len(items) // (4 * cores())))
    parts = [items[start : start + size] for start in range(0, len(items), size)]
    done = _threads().map(lambda part: [work(item) for item in part], parts)
    return [result for results in done for result in results]


@once
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores())


if hasattr(os, "register_at_fork"):  # threads are not there in a forked process
    os.register_at_fork(after_in_child=_threads.cache_clear)
