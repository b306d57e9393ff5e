"""Decoding of images: plain JPEGs by torchvision, all others by Pillow.

Both decoders use libjpeg-turbo and give the same pixels, bit for bit. torchvision takes 0.4 times
as long as Pillow for 32 x 32 pixels, and 0.7 times for 500 x 375. Decoding at a reduced scale
(Pillow's `draft`) is not used, because its pixels differ from those of the full scale: training
from files would differ from training from memory.
"""

import io

import torch
from PIL import Image

from soup.data.reading.color_modes import rgb
from soup.data.reading.formats import damage_as_os_error, open_image

# Pixels beyond which Pillow decodes a JPEG, because it guards against decompression bombs.
MAX_PIXELS = 89_000_000


def decode(encoded: bytes) -> Image.Image:
    """An image as upright 8-bit RGB (`color_modes.py`).

    Raises:
        OSError, SyntaxError, ValueError, DecompressionBombError: the image cannot be decoded.
    """
    if is_plain_jpeg(encoded):
        from torchvision.io import ImageReadMode, decode_jpeg

        try:
            # A bytearray, because torch warns about read-only memory.
            buffer = torch.frombuffer(bytearray(encoded), dtype=torch.uint8)
            pixels = decode_jpeg(buffer, mode=ImageReadMode.RGB)
            return Image.fromarray(pixels.permute(1, 2, 0).numpy())
        except RuntimeError:
            pass  # Pillow, below, raises an error with a clearer message
    with open_image(io.BytesIO(encoded)) as image, damage_as_os_error():
        return rgb(image)


def is_plain_jpeg(encoded: bytes) -> bool:
    """Whether this is a JPEG of three channels and usual size without EXIF, which may rotate it."""
    if encoded[:2] != b"\xff\xd8":
        return False
    start = 2
    while start + 9 < len(encoded) and encoded[start] == 0xFF:
        kind = encoded[start + 1]
        if kind in (0xC0, 0xC1, 0xC2):  # start of frame: baseline, extended, progressive
            height = int.from_bytes(encoded[start + 5 : start + 7])
            width = int.from_bytes(encoded[start + 7 : start + 9])
            return (
                encoded[start + 9] == 3 and encoded[start + 4] == 8 and height * width < MAX_PIXELS
            )
        if kind == 0xE1 and encoded[start + 4 : start + 8] == b"Exif":
            return False
        start += 2 + int.from_bytes(encoded[start + 2 : start + 4])
    return False
