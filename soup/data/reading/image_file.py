"""Reading an image by its path, which names a file, an archive member or a row of a data set.

Examples of the three kinds are `train/n01440764/x.JPEG`, `train.tar::n01440764/x.JPEG` and
`hfds:food101@train::0000017`.
"""

import hashlib
import io
import os
import stat
from pathlib import Path
from typing import IO, Literal

from PIL import Image, UnidentifiedImageError
from PIL.ContainerIO import ContainerIO

from soup.data.errors import DataError, Unreadable
from soup.data.reading import archives, hugging_face
from soup.data.reading.color_modes import bands, require_known, upright_size
from soup.data.reading.decoding import decode
from soup.data.reading.formats import is_whole, open_header, unread
from soup.data.reading.limits import BeyondLimits, Limits, default_limits, require_bytes

INSIDE = "::"
BROKEN = (OSError, SyntaxError, ValueError)
SMALL = 8_000_000  # bytes of a file that is read whole before its picture's size is known


def member(path: Path) -> tuple[Path, str] | None:
    """The archive of a path and the name of the member; None for a path of a plain file."""
    text = str(path)
    end = text.find(INSIDE)
    while end >= 0:  # a folder's name may contain two colons too
        if os.path.isfile(text[:end]):  # noqa: PTH113  faster; called for every image that is read
            return Path(text[:end]), text[end + len(INSIDE) :]
        end = text.find(INSIDE, end + 1)
    return None


def opened(path: Path) -> IO[bytes]:
    """The encoded image as an open file.

    Raises:
        OSError, DataError: the image is missing or cannot be read.
    """
    row = hugging_face.row(path)
    if row is not None:
        return io.BytesIO(hugging_face.read(*row))
    in_archive = member(path)
    if in_archive is None:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise OSError(f"no regular file: {path.name}")
        return path.open("rb")
    return ContainerIO(in_archive[0].open("rb"), *archives.extent(*in_archive))


def read(path: Path, limits: Limits | None = None) -> bytes:
    """The bytes of the encoded image, of which a large one is asked its size first.

    Args:
        limits: default: `default_limits()`.

    Raises:
        BeyondLimits: the image is too large.
        OSError, DataError: as in `opened`.
        OSError, SyntaxError, ValueError: it is large, and its header is damaged.
    """
    limits = limits or default_limits()
    with opened(path) as file:
        size = file.seek(0, os.SEEK_END)
        require_bytes(size, limits)
        if size > SMALL:
            open_header(file, limits)
        file.seek(0)
        return file.read()


def size_in_bytes(path: Path) -> int:
    """The size of the encoded image. Raises the errors of `opened`."""
    with opened(path) as file:
        return file.seek(0, os.SEEK_END)


def fingerprint(path: Path, how: Literal["decode", "header"]) -> str:
    """The fingerprint of an image: the first of the two that `examined` gives."""
    return examined(path, how)[0]


def examined(
    path: Path, how: Literal["decode", "header"], limits: Limits | None = None
) -> tuple[str, str]:
    """Check that an image can be read, and say what tells it from others.

    Args:
        how: 'decode' decodes the image; the fingerprint is the start of the SHA-256 of its bytes.
            'header' reads the header, and decodes only an image that may have been cut off; the
            fingerprint is the size, 'N-bytes'.
        limits: default: `default_limits()`.

    Returns:
        The fingerprint of the file; and a digest that is the same wherever the picture is: of the
        decoded pixels, or, if only the header is read, of the size and the first 4 KiB, which a few
        other files may share.

    Raises:
        ValueError: the file cannot be read as an image; the message says why.
    """
    try:
        if how == "header":
            with opened(path) as file, open_header(file, limits) as image:
                require_known(image)
                if not is_whole(file, image.format):
                    decode(read(path, limits), limits)
                file.seek(0)
                start = file.read(4096)
            size = f"{size_in_bytes(path)}-bytes"
            return size, _digest(size.encode() + start)
        data = read(path, limits)
        return _digest(data), _digest_of_pixels(decode(data, limits))
    except UnidentifiedImageError:
        raise ValueError(unread(path) or "not an image") from None
    except BeyondLimits as error:
        raise ValueError(str(error)) from None
    except BROKEN as error:
        raise ValueError(f"unreadable: {error}") from None


def image(path: Path, content: str | None = None, limits: Limits | None = None) -> Image.Image:
    """The image as upright 8-bit RGB.

    Args:
        path: absolute, of one of the three kinds above.
        content: the fingerprint from when the split was made, which the image must still have; ''
            or None if it is not to be checked.
        limits: default: `default_limits()`.

    Raises:
        Unreadable: the image cannot be decoded.
        DataError: it is missing, has changed or is too large.
    """
    data = _bytes_of(path, limits)
    same = _same(data, content)
    try:
        decoded = decode(data, limits)
    except BeyondLimits as error:
        raise DataError(f"{path}: {error}; run prepare again") from None
    except BROKEN as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else error
        what = "it was whole when the split was made;"
        if same:  # only its header was read then
            what = "mend it or remove it, or set data.check: decode, which leaves it out, and"
        kind = Unreadable if same else DataError
        raise kind(f"{path}: unreadable: {reason}; {what} run prepare again") from None
    if not same:
        raise _changed(path)
    return decoded


def encoded(path: Path, content: str | None = None, limits: Limits | None = None) -> bytes:
    """The bytes of the encoded image. Arguments and errors as in `image`, without decoding."""
    data = _bytes_of(path, limits)
    if not _same(data, content):
        raise _changed(path)
    return data


def size(path: Path, limits: Limits | None = None) -> tuple[int, int]:
    """(width, height) of `image(path)`, from the header. Raises as `opened` and `open_image` do."""
    with opened(path) as file, open_header(file, limits) as header:
        return upright_size(header)


def _bytes_of(path: Path, limits: Limits | None) -> bytes:
    try:
        return read(path, limits)
    except BeyondLimits as error:
        raise DataError(f"{path}: {error}; run prepare again") from None
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


def _digest_of_pixels(image: Image.Image) -> str:
    digest = hashlib.sha256(str(image.size).encode())
    for _, band in bands(image):
        digest.update(band.tobytes())
    return digest.hexdigest()[:16]
