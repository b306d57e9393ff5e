"""Reading an image by its path: a file, a member of an archive or a row of a data set.

Paths of the three kinds are `train/n01440764/x.JPEG`, `train.tar::n01440764/x.JPEG` and
`hfds:food101@train::0000017`.
"""

import hashlib
import io
import os
from pathlib import Path
from typing import BinaryIO, Literal, cast

from PIL import Image, UnidentifiedImageError

from soup.data.errors import DataError
from soup.data.reading import archives, hugging_face
from soup.data.reading.color_modes import require_known, upright_size
from soup.data.reading.decoding import decode

INSIDE = "::"
BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def member(path: Path) -> tuple[Path, str] | None:
    """The archive that a path leads into and the name therein; None for a plain file."""
    text = str(path)
    at = text.find(INSIDE)
    while at >= 0:  # a folder's name may have two colons too
        if os.path.isfile(text[:at]):  # noqa: PTH113  each image read comes by here
            return Path(text[:at]), text[at + len(INSIDE) :]
        at = text.find(INSIDE, at + 1)
    return None


def opened(path: Path) -> BinaryIO:
    """The encoded image, as an open file.

    Raises:
        OSError, DataError: the image is missing or cannot be read.
    """
    row = hugging_face.row(path)
    if row is not None:
        return io.BytesIO(hugging_face.read(*row))
    found = member(path)
    if found is None:
        return path.open("rb")
    offset, size = archives.place(*found)
    descriptor = os.open(found[0], os.O_RDONLY)
    return cast(BinaryIO, io.BufferedReader(archives.Section(descriptor, offset, size, True)))


def read(path: Path) -> bytes:
    """The encoded image's bytes. Raises as `opened` does."""
    with opened(path) as file:
        return file.read()


def size_in_bytes(path: Path) -> int:
    """Size of the encoded image. Raises as `opened` does."""
    if hugging_face.row(path) is not None:
        return len(read(path))
    found = member(path)
    return path.stat().st_size if found is None else archives.place(*found)[1]


def fingerprint(path: Path, how: Literal["decode", "header"]) -> str:
    """Check that an image can be read, and name its content.

    Args:
        how: 'decode' decodes the image and hashes its bytes (SHA-256); 'header' reads the header
            and takes the size, 'N-bytes'.

    Raises:
        ValueError: the file cannot be read as an image; the message says why.
    """
    try:
        if how == "header":
            with opened(path) as file, Image.open(file) as image:
                require_known(image)
            return f"{size_in_bytes(path)}-bytes"
        data = read(path)
        decode(data)
        return _digest(data)
    except UnidentifiedImageError:
        raise ValueError("not an image") from None
    except BROKEN as error:
        raise ValueError(f"unreadable: {error}") from None


def image(path: Path, content: str | None = None) -> Image.Image:
    """The image as 8-bit RGB, upright.

    Args:
        path: of a file, or into an archive (see above), absolute.
        content: fingerprint when the split was made, which the image must still have; '' or None:
            not checked.

    Raises:
        DataError: the image is missing, cannot be decoded, or has changed.
    """
    data = _bytes_of(path)
    same = _same(data, content)
    try:
        decoded = decode(data)
    except BROKEN as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else error
        what = "mend it or remove it, and" if same else "it was whole when the split was made;"
        raise DataError(f"{path}: unreadable: {reason}; {what} run prepare again") from None
    if not same:
        raise _changed(path)
    return decoded


def encoded(path: Path, content: str | None = None) -> bytes:
    """The encoded image's bytes. Arguments and errors are those of `image`, but for decoding."""
    data = _bytes_of(path)
    if not _same(data, content):
        raise _changed(path)
    return data


def size(path: Path) -> tuple[int, int]:
    """(width, height) of `image(path)`, from the header. Raises as `opened` and Pillow do."""
    with opened(path) as file, Image.open(file) as header:
        return upright_size(header)


def _bytes_of(path: Path) -> bytes:
    try:
        return read(path)
    except BROKEN as error:
        raise DataError(f"{path}: unreadable: {error}; run prepare again") from None


def _same(data: bytes, content: str | None) -> bool:
    if not content:
        return True
    return content == (f"{len(data)}-bytes" if content.endswith("-bytes") else _digest(data))


def _changed(path: Path) -> DataError:
    return DataError(f"{path} has changed since the split was made; run prepare again")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
