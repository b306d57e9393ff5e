"""A split's images as arrays: decoded once, kept on disk, shared between processes.

Sets whose images are looked at again and again (held-out by every candidate soup, test by every
model) are decoded and resized once into one uint8 array, named by a digest of what is in it and
memory-mapped by whoever needs it.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from soup.data.folders import DataError, fingerprint
from soup.data.split import Row
from soup.files import whole
from soup.progress import Advance, Track, untold
from soup.provenance import of_value

Decode = Callable[[Image.Image], Image.Image]
CHUNK = 2048


@dataclass(frozen=True)
class Images:
    """Images of one split.

    Attributes:
        pixels: uint8 (examples, height, width, 3), or None when they are read file by file.
        labels: class indices, int64 (examples,).
        paths: absolute paths, in the same order.
    """

    pixels: NDArray[np.uint8] | None
    labels: NDArray[np.int64]
    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Image.Image:
        if self.pixels is not None:
            return Image.fromarray(self.pixels[index])
        with Image.open(self.paths[index]) as image:
            return image.convert("RGB")

    def stretch(self, start: int, stop: int) -> "Images":
        """Some of them, in the same order."""
        pixels = None if self.pixels is None else self.pixels[start:stop]
        return replace(
            self, pixels=pixels, labels=self.labels[start:stop], paths=self.paths[start:stop]
        )


def decoded(
    rows: Sequence[Row],
    root: Path,
    classes: Sequence[str],
    resize: Decode,
    how: str,
    cache: Path,
    track: Track = untold,
) -> Images:
    """The images through `resize`, from the cache or decoded now.

    Args:
        rows: the images, all of one split.
        root: what their paths are relative to.
        classes: class names; position is label.
        resize: PIL image -> PIL image of one size for all.
        how: names what `resize` does; part of the cache's key.
        cache: folder of the decoded arrays.
        track: is told how far it is, if they have to be decoded.

    Raises:
        DataError: an image is missing or is not what it was when the split was made.
    """
    # A size does not tell two images apart, as a digest does; then the place has to.
    sized = any(row.content.endswith("-bytes") for row in rows)
    place = str(root.resolve()) if sized else ""
    key = of_value([how, place, [(r.path, r.content) for r in rows]])
    file = cache / f"{key[:32]}.npy"
    if not file.exists():
        with track(f"decoding {rows[0].split}", len(rows)) as advance:
            _decode(rows, root, resize, file, advance)
    labels = {name: index for index, name in enumerate(classes)}
    return Images(
        np.load(file, mmap_mode="r"),
        np.array([labels[r.label] for r in rows], dtype=np.int64),
        tuple(root / r.path for r in rows),
    )


def from_files(rows: Sequence[Row], root: Path, classes: Sequence[str]) -> Images:
    """The images, to be read one by one at their own sizes: for sets too large to hold decoded."""
    labels = {name: index for index, name in enumerate(classes)}
    return Images(
        None,
        np.array([labels[r.label] for r in rows], dtype=np.int64),
        tuple(root / r.path for r in rows),
    )


def one_size(rows: Sequence[Row], root: Path) -> tuple[int, int] | None:
    """The (width, height) that all images have, or None if they differ."""
    size: tuple[int, int] | None = None
    for row in rows:
        with Image.open(root / row.path) as image:
            if size not in (None, image.size):
                return None
            size = image.size
    return size


def _decode(rows: Sequence[Row], root: Path, resize: Decode, file: Path, advance: Advance) -> None:
    def one(row: Row) -> NDArray[np.uint8]:
        path = root / row.path
        try:
            content = fingerprint(path, "header" if row.content.endswith("-bytes") else "decode")
        except ValueError as error:
            raise DataError(f"{path}: {error}; run prepare again") from None
        if content != row.content:
            raise DataError(f"{path} has changed since the split was made; run prepare again")
        try:
            with Image.open(path) as image:
                return np.asarray(resize(image.convert("RGB")), dtype=np.uint8)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"{path} cannot be decoded: {error}; mend it or remove it") from None

    # Written in order, not through a memory map: a full disk is then an error, not a bus error.
    with whole(file) as aside, aside.open("wb") as out, ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(rows), CHUNK):
            block = np.stack(list(pool.map(one, rows[start : start + CHUNK])))
            if start == 0:
                header = np.lib.format.header_data_from_array_1_0(block)
                header["shape"] = (len(rows), *block.shape[1:])
                np.lib.format.write_array_header_1_0(out, header)
            out.write(block.tobytes())
            advance(len(block))
