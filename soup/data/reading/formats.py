"""The image formats that are read: those of Pillow that photographs come in, each by one still.

The formats are named to Pillow one by one, because it would start other programs for some (EPS).
Of an animation the first frame is read.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import IO

from PIL import Image

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


def open_image(file: IO[bytes]) -> Image.Image:
    """`PIL.Image.open`, restricted to `FORMATS`.

    Raises:
        UnidentifiedImageError: the file is of none of them.
        OSError, SyntaxError, ValueError, DecompressionBombError: its header is damaged.
    """
    with damage_as_os_error():
        return Image.open(file, formats=[*FORMATS])


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
