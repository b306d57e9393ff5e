"""An image file's pixels: the one place where images are opened.

JPEG photographs are decoded by torchvision, everything else by Pillow. Both use libjpeg-turbo and
give the same pixels, bit for bit; torchvision takes 0.4 times as long for 32 x 32 pixels and 0.7
times for 500 x 375. Decoding at a reduced scale (Pillow's `draft`) is not used: it gives other
pixels, so that the same images would train differently from files and from memory.
"""

import hashlib
import io
from pathlib import Path

import torch
from PIL import Image

from soup.data.folders import DataError
from soup.data.split import Row

UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
PLAIN = 89_000_000  # pixels; of larger JPEG Pillow decides whether they are an attack


def read(path: Path) -> bytes:
    """An image's bytes, still encoded."""
    return path.read_bytes()


def size_of(path: Path) -> tuple[int, int]:
    """Width and height in pixels, from the header."""
    with Image.open(path) as image:
        return image.size


def length_of(path: Path) -> int:
    """Bytes of an image while it is encoded."""
    return path.stat().st_size


def decode(encoded: bytes) -> Image.Image:
    """An image as RGB.

    Raises:
        OSError, SyntaxError, ValueError, DecompressionBombError: it cannot be decoded.
    """
    if is_plain_jpeg(encoded):
        from torchvision.io import ImageReadMode, decode_jpeg

        try:
            # A bytearray, for torch warns of memory that cannot be written to.
            given = torch.frombuffer(bytearray(encoded), dtype=torch.uint8)
            pixels = decode_jpeg(given, mode=ImageReadMode.RGB)
            return Image.fromarray(pixels.permute(1, 2, 0).numpy())
        except RuntimeError:
            pass  # Pillow says better what is wrong with it
    with Image.open(io.BytesIO(encoded)) as image:
        return image.convert("RGB")


def checked(row: Row, root: Path) -> Image.Image:
    """The image of a row, if it is what it was when the split was made.

    Raises:
        DataError: it is missing, was changed, or cannot be decoded.
    """
    try:
        return decode(as_split(row, root))
    except UNREADABLE as error:
        path = root / row.path
        raise DataError(f"{path} cannot be decoded: {error}; mend it or remove it") from None


def as_split(row: Row, root: Path) -> bytes:
    """The encoded image of a row, if it is what it was when the split was made.

    Raises:
        DataError: it is missing or was changed.
    """
    path = root / row.path
    try:
        encoded = read(path)
    except OSError as error:
        raise DataError(f"{path}: {error}; run prepare again") from None
    if _content(encoded, row.content) != row.content:
        raise DataError(f"{path} has changed since the split was made; run prepare again")
    return encoded


def is_plain_jpeg(encoded: bytes) -> bool:
    """Whether it is a JPEG of three channels, of usual size, without Exif (which may turn it)."""
    if encoded[:2] != b"\xff\xd8":
        return False
    at = 2
    while at + 9 < len(encoded) and encoded[at] == 0xFF:
        kind = encoded[at + 1]
        if kind in (0xC0, 0xC1, 0xC2):  # start of frame: baseline, extended, progressive
            height = int.from_bytes(encoded[at + 5 : at + 7])
            width = int.from_bytes(encoded[at + 7 : at + 9])
            return encoded[at + 9] == 3 and encoded[at + 4] == 8 and height * width < PLAIN
        if kind == 0xE1 and encoded[at + 4 : at + 8] == b"Exif":
            return False
        at += 2 + int.from_bytes(encoded[at + 2 : at + 4])
    return False


def _content(encoded: bytes, like: str) -> str:
    """What `folders.fingerprint` says of these bytes, in the form that `like` has."""
    if like.endswith("-bytes"):
        return f"{len(encoded)}-bytes"
    return hashlib.sha256(encoded).hexdigest()[:16]
