"""Training images in memory at their own sizes: a random crop must see the whole image.

They are held decoded if the cache has room for all of them, else encoded as in their files, else
they are read from the files. The memory is a mapped file of the cache, which fine-tunes that run at
the same time share.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from soup.data.errors import DataError, Unreadable
from soup.data.loading.image_store import ImageStore
from soup.data.loading.images import Images, decoded, digest, from_files, in_threads, row_parts
from soup.data.reading import image_file
from soup.data.reading.decoding import decode
from soup.data.split.manifest import Row
from soup.files import of_value

_log = logging.getLogger(__name__)
Bytes = NDArray[np.uint8]


def training_images(store: ImageStore, rows: Sequence[Row], classes: Sequence[str]) -> Images:
    """Images at their own sizes, in the fastest form that the store's cache has room for.

    Every form gives the same images, bit for bit.

    Raises:
        DataError: an image is missing or is not what it was when the split was made.
    """
    root, room = store.root, store.limit_gib * 2**30
    key = digest(rows, root, "")

    def measured(row: Row) -> tuple[int, int, int]:
        path = root / row.path
        try:
            return *image_file.size(path, store.limits), image_file.size_in_bytes(path)
        except image_file.BROKEN as error:
            raise DataError(f"{row.path}: {error}; run prepare again") from None

    def measures() -> Iterator[NDArray[np.int64]]:
        for part in row_parts(rows):
            yield np.array(in_threads(measured, part), np.int64)

    def packed(
        what: str,
        lengths: NDArray[np.int64],
        pack: Callable[[Row], Bytes],
        unpack: Callable[[int, Bytes], Image.Image],
    ) -> Images | None:
        """The bytes of all images in one array, or None if the cache has no room for them."""

        def blocks() -> Iterator[Bytes]:
            start = 0
            for part in row_parts(rows):
                images = in_threads(pack, part)
                expected = lengths[start : (start := start + len(part))]
                for row, image, length in zip(part, images, expected, strict=True):
                    if len(image) != length:
                        raise DataError(f"{row.path} was changed while it was read; try again")
                yield np.concatenate(images)

        if lengths.sum() > room:
            return None
        data = store.array(of_value([what, key]), int(lengths.sum()), blocks)
        if data is None:
            return None
        ends = np.cumsum(lengths)
        return replace(plain, held=lambda i: unpack(i, data[ends[i] - lengths[i] : ends[i]]))

    def pixels(row: Row) -> Bytes:
        return np.asarray(image_file.image(root / row.path, row.content, store.limits)).reshape(-1)

    def encoded(row: Row) -> Bytes:
        return np.frombuffer(
            image_file.encoded(root / row.path, row.content, store.limits), np.uint8
        )

    def from_pixels(index: int, data: Bytes) -> Image.Image:
        return Image.fromarray(data.reshape(*sizes[index, ::-1], 3))

    def unpack_encoded(_: int, data: Bytes) -> Image.Image:
        return decode(data.tobytes(), store.limits)

    table = store.array(of_value(["measures", key]), len(rows), measures)
    table = np.concatenate([*measures()]) if table is None else table
    sizes, lengths = table[:, :2], table[:, 2]
    decoded_lengths = sizes.prod(axis=1) * 3
    plain = from_files(rows, root, classes, store.limits)
    held = None
    try:
        if (sizes == sizes[0]).all() and decoded_lengths.sum() <= room:
            return decoded(store, rows, classes, lambda image: image, "as they are")
        held = packed("decoded", decoded_lengths, pixels, from_pixels)
    except Unreadable as error:
        _log.warning("%s: so the training images are not kept decoded", error)
    held = held or packed("encoded", lengths, encoded, unpack_encoded)
    if held is None:
        _log.warning(
            "the %d training images are read from their files: they would take %.3g GiB encoded, "
            "compute.cache_gib is %.3g",
            *(len(rows), lengths.sum() / 2**30, store.limit_gib),
        )
    return held or plain
