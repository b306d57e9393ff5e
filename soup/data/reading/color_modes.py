"""Conversion of images of any colour mode to upright 8-bit RGB.

The result is what an image viewer shows. Published training loops give the same for grey, palette,
CMYK and opaque images; for others they drop alpha, ignore EXIF and clip 16 bits at 255.
"""

import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image

ORIENTATION = 0x0112
DEEP = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})


# By the EXIF orientation; 1 is upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BAND = 1_000_000  # pixels that are converted at once


def rgb(image: Image.Image) -> Image.Image:
    """The image as RGB: rotated by its EXIF entry, alpha over white, the high byte of 16 bits.

    No more than two copies of the picture are in memory. `image` is closed if it has to be turned.

    Raises:
        ValueError: there is no standard conversion of the pixels to 8-bit RGB (32 bits, LAB).
        OSError, SyntaxError, ValueError: Pillow cannot decode the data.
    """
    require_known(image)
    image.load()
    turn = orientation(image)  # Pillow turns a TIFF itself, and takes the entry away
    upright = image.convert("RGB") if _is_opaque_rgb(image) else _by_bands(image)
    if turn == 1:
        return upright
    image.close()  # frees its pixels before there is a third copy
    return upright.transpose(TURNS[turn])


def bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The image from top to bottom in bands of full width, each with its first row."""
    rows = max(1, BAND // max(1, image.width))
    if image.height <= rows:
        yield 0, image
        return
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _is_opaque_rgb(image: Image.Image) -> bool:
    return image.mode == "RGB" and not image.has_transparency_data


def _by_bands(image: Image.Image) -> Image.Image:
    upright = Image.new("RGB", image.size)
    for top, band in bands(image):
        upright.paste(_converted(band), (0, top))
    return upright


def _converted(image: Image.Image) -> Image.Image:
    if image.mode in DEEP:
        values = np.asarray(image)
        if values.size and (values.min() < 0 or values.max() > 0xFFFF):
            raise ValueError(f"pixels of {values.min()} to {values.max()} are no 16-bit grey")
        # The high byte: Pillow converts 16-bit RGB in the same way.
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        transparent = image.convert("RGBA")
        white = Image.new("RGBA", transparent.size, "white")
        image = Image.alpha_composite(white, transparent)
    return image.convert("RGB")


def require_known(image: Image.Image) -> None:
    """Check by the header that `rgb` can convert the image.

    Raises:
        ValueError: `rgb` cannot convert this mode.
    """
    if image.mode in ("F", "LAB"):
        raise ValueError(f"pixels of mode {image.mode} have no agreed 8-bit RGB; convert the file")


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) if it is missing or cannot be read."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except (SyntaxError, OSError, ValueError, KeyError, TypeError, struct.error):
        return 1  # many photographs carry a broken EXIF block and are otherwise sound
    return value if value in range(1, 9) else 1


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) of `rgb(image)`, from the header."""
    width, height = image.size
    if image.format == "TIFF":  # Pillow turns it when it reads it, and says so in the size
        return width, height
    return (height, width) if orientation(image) >= 5 else (width, height)
