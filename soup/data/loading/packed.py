"""Training images in memory at their own sizes: a random crop must see the whole image.

They are held decoded if the cache has room for all of them, else encoded as in their files, else
they are read from the files. The memory is a mapped file of the cache, which fine-tunes that run at
the same time share.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from soup.data.errors import DataError
from soup.data.loading.image_store import ImageStore
from soup.data.loading.images import Images, decoded, digest, from_files, in_threads, row_parts
from soup.data.reading import image_file
from soup.data.reading.decoding import decode
from soup.data.split.manifest import Row
from soup.files import of_value

_log = logging.getLogger(__name__)
HEAD = 8  # bytes before an image's pixels: its height and its width, uint32 each


class Packed(Sequence[Image.Image]):
    """A sequence of images, stored one after the other in an array of bytes."""

    def __init__(
        self,
        data: NDArray[np.uint8],
        lengths: NDArray[np.int64],
        unpack: Callable[[NDArray[np.uint8]], Image.Image],
    ) -> None:
        """
        Args:
            data: uint8 (bytes of all images,).
            lengths: bytes of each image, (images,).
            unpack: an image's bytes -> the image, RGB.
        """
        self._data, self._unpack = data, unpack
        self._ends = np.cumsum(lengths)
        self._starts = self._ends - lengths

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: Any) -> Any:
        return self._unpack(self._data[self._starts[index] : self._ends[index]])


def training_images(store: ImageStore, rows: Sequence[Row], classes: Sequence[str]) -> Images:
    """Images at their own sizes, in the fastest form that the store's cache has room for.

    Every form gives the same images, bit for bit.

    Raises:
        DataError: an image is missing or is not what it was when the split was made.
    """
    root, room = store.root, store.limit_gib * 2**30
    arrays = _Arrays(store, rows, digest(rows, root, ""))
    sizes = arrays.table("sizes", lambda row: image_file.size(root / row.path))
    bytes_each = sizes.prod(axis=1) * 3
    if (sizes == sizes[0]).all() and bytes_each.sum() <= room:
        return decoded(store, rows, classes, lambda image: image, "as they are")
    plain = from_files(rows, root, classes)
    if bytes_each.sum() <= room:
        data = arrays.packed("decoded", lambda row: _flat(_image_of(row, root)), bytes_each + HEAD)
        if data is not None:
            return replace(plain, held=Packed(data, bytes_each + HEAD, _image))
    lengths = arrays.table("lengths", lambda row: (image_file.size_in_bytes(root / row.path),))[
        :, 0
    ]
    if lengths.sum() <= room:
        data = arrays.packed("encoded", lambda row: _bytes(row, root), lengths)
        if data is not None:
            return replace(plain, held=Packed(data, lengths, lambda part: decode(part.tobytes())))
    _log.warning(
        "the %d training images are read from their files: they would take %.3g GiB encoded, "
        "compute.cache_gib is %.3g",
        *(len(rows), lengths.sum() / 2**30, store.limit_gib),
    )
    return plain


@dataclass(frozen=True)
class _Arrays:
    """What the cache keeps of one list of images."""

    store: ImageStore
    rows: Sequence[Row]
    digest: str

    def table(self, what: str, measure: Callable[[Row], tuple[int, ...]]) -> NDArray[np.int64]:
        """A few integers of each image, (images, integers), measured once."""

        def blocks() -> Iterator[NDArray[np.int64]]:
            for part in row_parts(self.rows):
                yield np.array(in_threads(lambda row: _measured(measure, row), part), np.int64)

        mapped = self.store.array(of_value([what, self.digest]), len(self.rows), blocks)
        return np.concatenate([*blocks()]) if mapped is None else mapped

    def packed(
        self, what: str, pack: Callable[[Row], NDArray[np.uint8]], lengths: NDArray[np.int64]
    ) -> NDArray[np.uint8] | None:
        """The bytes of all images, or None if the cache has no room for them."""

        def blocks() -> Iterator[NDArray[np.uint8]]:
            start = 0
            for part in row_parts(self.rows):
                images = in_threads(pack, part)
                expected = lengths[start : (start := start + len(part))]
                for row, image, length in zip(part, images, expected, strict=True):
                    if len(image) != length:
                        raise DataError(f"{row.path} was changed while it was read; try again")
                yield np.concatenate(images)

        return self.store.array(of_value([what, self.digest]), int(lengths.sum()), blocks)


def _measured(measure: Callable[[Row], tuple[int, ...]], row: Row) -> tuple[int, ...]:
    try:
        return measure(row)
    except image_file.BROKEN as error:
        raise DataError(f"{row.path}: {error}; run prepare again") from None


def _flat(image: Image.Image) -> NDArray[np.uint8]:
    pixels = np.asarray(image, dtype=np.uint8)
    size = np.array(pixels.shape[:2], dtype=np.uint32)
    return np.concatenate([size.view(np.uint8), pixels.reshape(-1)])


def _image(packed: NDArray[np.uint8]) -> Image.Image:
    height, width = packed[:HEAD].view(np.uint32)
    return Image.fromarray(packed[HEAD:].reshape(height, width, 3))


def _image_of(row: Row, root: Path) -> Image.Image:
    return image_file.image(root / row.path, row.content)


def _bytes(row: Row, root: Path) -> NDArray[np.uint8]:
    return np.frombuffer(image_file.encoded(root / row.path, row.content), dtype=np.uint8)
