"""How large a picture may be. The limits are checked before anything is decoded.

With the defaults, decoding an accepted picture of any format and mode takes less than 1 GB of
memory, and refusing a picture less than 100 MB (`benchmarks/pictures.py` measures both).
"""

import os
import re
from dataclasses import dataclass, fields
from functools import cache
from typing import IO

from PIL import Image

from soup.data.errors import DataError

# Formats whose decoders hold several copies of the picture: up to 28 bytes a pixel, against at most
# 12 for others. Two of these formats are read whole before the picture's size is known.
HEAVY = frozenset({"WEBP", "AVIF", "JPEG2000"})
HEAVY_PIXELS, HEAVY_BYTES = 1 / 2, 1 / 5  # the limits of these formats, as shares of the others'
METADATA = 8_000_000  # bytes of one block of EXIF, XMP, colour profile or text
ENVIRONMENT = "MODELSOUP_"  # + MEGAPIXELS, MEGABYTES or RATIO: variables for commands and serving
TILE_WIDTH, TILE_HEIGHT = 322, 323  # tags of TIFF


class BeyondLimits(ValueError):
    """A picture is too large; the message names the limit and says how to raise it."""


@dataclass(frozen=True)
class Limits:
    """The limits of a picture; the defaults are those of `data.limits`.

    Attributes:
        megapixels: pixels of one picture, in units of 1,000,000.
        megabytes: size of its file, in units of 1,000,000 bytes.
        ratio: ratio of its longer side to its shorter.
    """

    megapixels: float = 60.0
    megabytes: float = 200.0
    ratio: float = 100.0

    @property
    def header(self) -> int:
        """The largest number of bytes that are read before the size of the picture is known."""
        return round(self.megabytes * 1e6 * HEAVY_BYTES)


@cache
def default_limits() -> Limits:
    """The limits from the environment, for a process without parameters.

    Raises:
        DataError: a variable is not a positive number.
    """
    given = {}
    for field in fields(Limits):
        name = ENVIRONMENT + field.name.upper()
        text = os.environ.get(name, "")
        try:
            number = float(text or 1)
        except ValueError:
            number = 0.0
        if not 0 < number < float("inf"):
            raise DataError(f"{name}={text}: must be a number above 0")
        if text:
            given[field.name] = number
    return Limits(**given)


def require_bytes(size: int, limits: Limits, kind: str | None = None) -> None:
    """Check the size of an encoded picture.

    Args:
        size: number of bytes.
        kind: Pillow's name of its format, if it is known.

    Raises:
        BeyondLimits: the size exceeds the limit.
    """
    share = HEAVY_BYTES if kind in HEAVY else 1.0
    if size > limits.megabytes * 1e6 * share:
        raise _beyond(f"{size / 1e6:,.1f} megabytes", "megabytes", limits, share, kind)


def require_within(image: Image.Image, size: int, limits: Limits) -> None:
    """Check an opened picture: its size, its shape, its file, its tiles and its metadata.

    Args:
        image: opened by Pillow, but not decoded.
        size: number of bytes of its file.

    Raises:
        BeyondLimits: the picture exceeds a limit.
        ValueError: the picture has no pixels.
    """
    require_shape(image, limits)
    require_bytes(size, limits, image.format)
    tags = getattr(image, "tag_v2", {})
    tile = (tags.get(TILE_WIDTH, 0), tags.get(TILE_HEIGHT, 0))
    if all(isinstance(side, int) for side in tile):
        _require_pixels(*tile, "a tile of ", limits, image.format)
    for name, value in image.info.items():
        if isinstance(value, bytes | str) and len(value) > METADATA:
            raise BeyondLimits(
                f"too large: its {name} takes {len(value) / 1e6:,.1f} megabytes, of at most "
                f"{METADATA / 1e6:g} that a block of metadata may take; remove it from the file"
            )


def require_shape(image: Image.Image, limits: Limits) -> None:
    """Check width and height of a picture. Arguments and errors as in `require_within`."""
    short, long = sorted(image.size)
    if short <= 0:
        raise ValueError(f"{image.width} x {image.height}: it has no pixels")
    _require_pixels(*image.size, "", limits, image.format)
    if long > short * limits.ratio:
        what = f"{image.width:,} x {image.height:,} is a shape of {long / short:,.0f} to 1"
        raise _beyond(what, "ratio", limits)


def _require_pixels(width: int, height: int, what: str, limits: Limits, kind: str | None) -> None:
    share = HEAVY_PIXELS if kind in HEAVY else 1.0
    if width * height > limits.megapixels * 1e6 * share:
        what += f"{width:,} x {height:,}, {width * height / 1e6:,.1f} megapixels"
        raise _beyond(what, "megapixels", limits, share, kind)


def bomb(error: Exception, limits: Limits) -> BeyondLimits:
    """Turn the error of Pillow's own guard against decompression bombs into `BeyondLimits`."""
    pixels = re.search(r"\d+", str(error))
    size = f"{int(pixels[0]) / 1e6:,.1f} megapixels" if pixels else str(error)
    return _beyond(size, "megapixels", limits)


def _beyond(
    what: str, limit: str, limits: Limits, share: float = 1.0, kind: str | None = None
) -> BeyondLimits:
    heavy = f" of a {kind}, which takes more memory to decode" if share < 1 else ""
    return BeyondLimits(
        f"too large: {what}, of at most {getattr(limits, limit) * share:g}{heavy}; raise "
        f"data.limits.{limit}, or for a command or a server {ENVIRONMENT}{limit.upper()}"
    )


class HeaderReader:
    """A file of which only a limited number of bytes is read until the picture's size is known.

    When Pillow opens a file, it reads the metadata of some formats and all of others.
    """

    def __init__(self, file: IO[bytes], limits: Limits) -> None:
        self._file, self._limits = file, limits
        self._left: float = limits.header
        self.size = file.seek(0, os.SEEK_END)
        file.seek(0)

    def read(self, size: int = -1) -> bytes:
        """Read like a file.

        Raises:
            BeyondLimits: the total would exceed the limit.
        """
        rest = max(0, self.size - self._file.tell())
        size = rest if size < 0 else min(size, rest)
        self._left -= size
        if self._left < 0:
            what = f"{self.size / 1e6:,.1f} megabytes, and its size is not known after a fifth of"
            raise _beyond(f"{what} the limit", "megabytes", self._limits)
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def without_limit(self) -> None:
        """Remove the limit, because the picture is accepted."""
        self._left = float("inf")
