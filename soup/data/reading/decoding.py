"""Decoding of images: plain JPEGs by torchvision, all others by Pillow.

Both decoders use libjpeg-turbo and give the same pixels, bit for bit. torchvision takes 0.8 times
as long as Pillow for 32 x 32 pixels, and 0.6 times for 2,000 x 1,500. Decoding at a reduced scale
(Pillow's `draft`) is not used, because its pixels differ from those of the full scale: training
from files would differ from training from memory.
"""

import io

from PIL import Image

from soup.data.reading.color_modes import rgb
from soup.data.reading.formats import damage_as_os_error, open_image
from soup.data.reading.limits import Limits, default_limits, require_shape

# Pixels beyond which Pillow decodes a JPEG: it takes as long then, and holds one copy less.
MOST_BY_TORCHVISION = 4_000_000
WITHOUT_LENGTH = frozenset({0x00, 0x01, 0xFF, *range(0xD0, 0xDA)})  # markers that no length follows


def decode(encoded: bytes, limits: Limits | None = None) -> Image.Image:
    """An image as upright 8-bit RGB (`color_modes.py`).

    Args:
        limits: default: `default_limits()`.

    Raises:
        BeyondLimits: the image is too large (a ValueError).
        OSError, SyntaxError, ValueError: the image cannot be decoded.
    """
    limits = limits or default_limits()
    with open_image(io.BytesIO(encoded), limits) as image:
        # Where our reading of the header and Pillow's agree, torchvision's decoder reads the same.
        if image.mode == "RGB" and _plain_jpeg_size(encoded) == image.size:
            plain = _by_torchvision(encoded)
            if plain is not None:
                require_shape(plain, limits)
                return plain
        with damage_as_os_error():
            upright = rgb(image)
        require_shape(upright, limits)
        return upright


def _by_torchvision(encoded: bytes) -> Image.Image | None:
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    try:
        # A bytearray, because torch warns about read-only memory.
        buffer = torch.frombuffer(bytearray(encoded), dtype=torch.uint8)
        pixels = decode_jpeg(buffer, mode=ImageReadMode.RGB)
        return Image.fromarray(pixels.permute(1, 2, 0).numpy())
    except RuntimeError:
        return None  # Pillow raises an error with a clearer message


def is_plain_jpeg(encoded: bytes) -> bool:
    """Whether this is a JPEG of three channels and usual size without EXIF, which may rotate it."""
    return _plain_jpeg_size(encoded) is not None


def _plain_jpeg_size(encoded: bytes) -> tuple[int, int] | None:
    """(width, height) of a plain JPEG; None for anything out of the ordinary."""
    if encoded[:2] != b"\xff\xd8":
        return None
    start = 2
    while start + 9 < len(encoded) and encoded[start] == 0xFF:
        kind = encoded[start + 1]
        length = int.from_bytes(encoded[start + 2 : start + 4])
        if kind in WITHOUT_LENGTH or length < 2:
            return None
        if kind in (0xC0, 0xC1, 0xC2):  # start of frame: baseline, extended, progressive
            height = int.from_bytes(encoded[start + 5 : start + 7])
            width = int.from_bytes(encoded[start + 7 : start + 9])
            usual = encoded[start + 9] == 3 and encoded[start + 4] == 8
            small = 0 < height * width < MOST_BY_TORCHVISION
            return (width, height) if usual and small else None
        if kind == 0xE1 and encoded[start + 4 : start + 8] == b"Exif":
            return None
        start += 2 + length
    return None
