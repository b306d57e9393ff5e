"""The image formats that are read: those of Pillow that photographs come in, each by one still.

The formats are named to Pillow one by one, because it would start other programs for some (EPS).
Of an animation the first frame is read. `open_image` is the one way to a picture of a file.
"""

import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import IO

from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from soup.data.reading import limits as size_limits
from soup.data.reading.limits import HeaderReader, Limits, default_limits

# `open_image` refuses such a picture, and says so.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

# Pillow's name of a format -> its suffixes. TGA is the last, because no mark tells what a TGA is.
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "AVIF": (".avif", ".avifs"),
    "JPEG2000": (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
    "QOI": (".qoi",),
    "SGI": (".sgi", ".bw", ".rgb", ".rgba"),
    "SUN": (".ras",),
    "PCX": (".pcx",),
    "TGA": (".tga", ".icb", ".vda", ".vst"),
}
IMAGE_SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
NOT_READ = (
    f"not an image of a format that is read ({', '.join(FORMATS)}); convert it to PNG or JPEG"
)
# Pictures too, but of formats that are not read: newer ones, raw data of cameras, drawings, icons.
UNREAD_SUFFIXES = frozenset(
    {".heic", ".heif", ".hif", ".jxl", ".jxr", ".exr", ".hdr", ".psd", ".xcf", ".svg", ".eps"}
    | {".wmf", ".emf", ".ico", ".icns", ".dds", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf"}
    | {".orf", ".rw2", ".pef", ".srw"}
)


def unread(path: PurePath) -> str:
    """Why a picture of a format that is not read is left out; '' for any other file."""
    suffix = path.suffix.lower()
    return f"{suffix} is not read; convert it to .png or .jpg" if suffix in UNREAD_SUFFIXES else ""


def open_image(file: IO[bytes], limits: Limits | None = None) -> ImageFile:
    """Open a picture of one of `FORMATS` within the limits; nothing is decoded.

    Args:
        file: the encoded picture, open for reading.
        limits: default: `default_limits()`.

    Raises:
        UnidentifiedImageError: the file is of none of the formats.
        BeyondLimits: the picture is too large.
        OSError, SyntaxError, ValueError: its header is damaged.
    """
    limits = limits or default_limits()
    size = file.seek(0, os.SEEK_END)
    size_limits.require_bytes(size, limits)
    pixels = round(limits.megapixels * 1e6)
    if Image.MAX_IMAGE_PIXELS is not None and pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = pixels  # else Pillow would refuse what our limit allows
    try:
        with damage_as_os_error():
            image = Image.open(file, formats=[*FORMATS])
    except UnidentifiedImageError:
        raise UnidentifiedImageError(NOT_READ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise size_limits.bomb(error, limits) from None
    size_limits.require_within(image, size, limits)
    return image


def open_header(file: IO[bytes], limits: Limits | None = None) -> ImageFile:
    """Open a picture as `open_image` does, of a file on disk that is not in memory yet.

    No more of the file is read than its limit of bytes allows until the size of the picture is
    known, so that a picture that is refused takes little memory.
    """
    reader = HeaderReader(file, limits or default_limits())
    image = open_image(reader, limits)  # type: ignore[arg-type]  # all of a file that Pillow uses
    reader.without_limit()
    return image


@contextmanager
def damage_as_os_error() -> Iterator[None]:
    """Raise as OSError what Pillow's readers of formats raise of other kinds for a damaged file."""
    try:
        yield
    except (RuntimeError, EOFError, IndexError, struct.error) as error:  # AVIF: RuntimeError
        raise OSError(f"{type(error).__name__}: {error}") from None


def is_whole(file: IO[bytes], kind: str | None) -> bool:
    """Whether the end of a file shows that it was not cut off, without decoding it.

    Args:
        file: open for reading.
        kind: Pillow's name of its format.

    Returns:
        False if the file was cut off, and where only decoding would tell.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - 12))
    end = file.read(12)
    file.seek(0)
    start = file.read(8)
    match kind:
        case "JPEG" | "MPO":
            return end.endswith(b"\xff\xd9")
        case "PNG":
            return end == b"\0\0\0\0IEND\xaeB`\x82"
        case "GIF":
            return end.endswith(b";")
        case "WEBP":
            return int.from_bytes(start[4:8], "little") + 8 <= size
        case "BMP":
            return 0 < int.from_bytes(start[2:6], "little") <= size
    return False
