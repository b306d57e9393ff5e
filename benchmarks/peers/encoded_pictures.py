"""Encoders of well-formed pictures that Pillow does not write, after the formats' specifications.

Interlaced and 16-bit PNG, TIFF in tiles or in one strip, Sun rasters, and QOI of runs.
"""

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # of PNG, by the number of channels
PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
PASSES += [(0, 1, 1, 2)]  # of Adam7: first column and row, steps of columns and rows


def png(file: Path, pixels: NDArray[np.generic], interlaced: bool = False) -> None:
    """A PNG of uint8 or uint16 pixels (height, width, channels)."""
    height, width, channels = pixels.shape
    header = struct.pack(
        ">IIBBBBB", width, height, 8 * pixels.itemsize, COLOUR_TYPES[channels], 0, 0, interlaced
    )
    packer = zlib.compressobj(1)
    with file.open("wb") as out:
        out.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header))
        for left, top, across, down in PASSES if interlaced else [(0, 0, 1, 1)]:
            part = pixels[top::down, left::across]
            for start in range(0, len(part), 256):
                rows = part[start : start + 256]
                lines = rows.astype(rows.dtype.newbyteorder(">")).reshape(len(rows), -1)
                raw = np.zeros((len(rows), 1 + lines.nbytes // len(rows)), np.uint8)
                raw[:, 1:] = lines.view(np.uint8)  # each line after its filter, which is none
                out.write(chunk(b"IDAT", packer.compress(raw.tobytes())))
        out.write(chunk(b"IDAT", packer.flush()) + chunk(b"IEND", b""))


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def tiff(file: Path, pixels: NDArray[np.generic], tile: int = 0, packed: bool = True) -> None:
    """A TIFF of uint8 or uint16 pixels (height, width, channels).

    Args:
        tile: side of its tiles, a multiple of 16; 0 for one strip.
        packed: by Deflate.
    """
    height, width, channels = pixels.shape
    step = tile or max(height, width)
    with file.open("wb") as out:
        out.write(b"II*\0\0\0\0\0")
        places = []
        for top in range(0, height, step):
            for left in range(0, width, step):
                part = pixels[top : top + step, left : left + step]
                if tile:
                    edge = [(0, tile - part.shape[0]), (0, tile - part.shape[1]), (0, 0)]
                    part = np.pad(part, edge)
                data = zlib.compress(part.tobytes(), 1) if packed else part.tobytes()
                places.append((out.tell(), len(data)))
                out.write(data)
        out.write(b"\0" * (out.tell() % 2))
        offsets, lengths = ([place[which] for place in places] for which in (0, 1))
        area, where, size = ((322, 323), 324, 325) if tile else ((278,), 273, 279)
        tags = {256: [width], 257: [height], 258: [8 * pixels.itemsize] * channels, 284: [1]}
        tags |= {259: [8 if packed else 1], 262: [2 if channels > 2 else 1], 277: [channels]}
        tags |= {tag: [step if tile else height] for tag in area} | {where: offsets, size: lengths}
        tags |= {338: [2]} if channels == 4 else {}  # the fourth is alpha
        entries = b""
        for tag, values in sorted(tags.items()):
            short = tag not in (256, 257, 273, 278, 279, 322, 323, 324, 325)
            data = struct.pack(f"<{len(values)}{'H' if short else 'I'}", *values)
            if len(data) > 4:
                place = out.tell()
                out.write(data + b"\0" * (len(data) % 2))
                data = struct.pack("<I", place)
            entries += struct.pack("<HHI", tag, 3 if short else 4, len(values)) + data.ljust(
                4, b"\0"
            )
        directory = out.tell()
        out.write(struct.pack("<H", len(tags)) + entries + b"\0\0\0\0")
        out.seek(4)
        out.write(struct.pack("<I", directory))


def sun(file: Path, pixels: NDArray[np.uint8]) -> None:
    """A Sun raster of uint8 pixels (height, width, 3)."""
    height, width, _ = pixels.shape
    lines = pixels[..., ::-1].reshape(height, -1)
    lines = np.pad(lines, [(0, 0), (0, lines.shape[1] % 2)])
    header = struct.pack(">8I", 0x59A66A95, width, height, 24, lines.size, 1, 0, 0)
    file.write_bytes(header + lines.tobytes())


def qoi(file: Path, width: int, height: int) -> None:
    """A QOI picture of one colour."""
    runs, rest = divmod(width * height - 1, 62)
    data = b"\xfe\x20\x90\x40" + b"\xfd" * runs + (bytes([0xC0 + rest - 1]) if rest else b"")
    header = b"qoif" + struct.pack(">IIBB", width, height, 3, 0)
    file.write_bytes(header + data + b"\0" * 7 + b"\1")
