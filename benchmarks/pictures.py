"""Measure the peak memory of the largest accepted picture, for every format and mode.

One process makes each picture, and a fresh process reads it: it checks the picture as `prepare`
does, decodes it, and resizes it as for evaluation and training. The program prints the peak of
resident memory above its value before. The exit code is 1 if an accepted picture takes more than
1,000 MB, a refused one more than 100 MB, or a picture is wrongly accepted or refused. No picture is
damaged.

    python benchmarks/pictures.py [PART OF A NAME ...]
"""

import argparse
import io
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers import encoded_pictures
from PIL import Image, PngImagePlugin, TiffImagePlugin

from soup.data.reading import image_file
from soup.data.reading.decoding import decode
from soup.data.reading.formats import open_header
from soup.data.reading.limits import HEAVY, HEAVY_PIXELS, Limits
from soup.models import Architecture
from soup.models.transforms import evaluation, training

LIMITS = Limits()
ACCEPTED, REFUSED = 1000, 100  # MB
MODES = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}
TURNED = Image.Exif()
TURNED[0x0112] = 6
HALF = (0.5, 0.5, 0.5)
MODEL = Architecture("timm", "resnet18", ("a",), image_size=224, mean=HALF, std=HALF)
Make = Callable[[Path, int, int], object]


def noise(mode: str, width: int, height: int, part: int = 2) -> NDArray[Any]:
    """A ramp, with noise (which hardly compresses) in the left half or another left part."""
    channels = 1 if mode == "I;16" else MODES[mode]
    kind = np.uint16 if mode == "I;16" else np.uint8
    rng, top = np.random.default_rng(0), np.iinfo(kind).max
    block = rng.integers(0, top, (256, width // part, channels), dtype=kind, endpoint=True)
    pixels = np.empty((height, width, channels), kind)
    pixels[:] = np.linspace(0, top, width).astype(kind)[None, :, None]
    for start in range(0, height, 256):
        pixels[start : start + 256, : width // part] = block[: height - start]
    return pixels


def by_pillow(kind: str, mode: str, frames: int = 1, part: int = 2, **options: Any) -> Make:
    """Makes a picture by Pillow's own encoder."""

    def make(file: Path, width: int, height: int) -> None:
        plain = {"1": "L", "P": "L"}.get(mode, mode)
        pixels = noise(plain, width, height, part)
        image = Image.frombytes(plain, (width, height), pixels.tobytes())
        del pixels
        image = image if plain == mode else image.convert(mode)
        more = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for _ in range(frames - 1)]
        given = {"save_all": True, "append_images": more} if frames > 1 else {}
        TiffImagePlugin.STRIP_SIZE = options.pop("strip", 65536)
        image.save(file, kind, **given, **options)

    return make


def by_us(encoder: Callable[..., object], mode: str, deep: bool = False, **options: Any) -> Make:
    """Makes a picture by an encoder of `peers/encoded_pictures.py`."""

    def make(file: Path, width: int, height: int) -> None:
        pixels = noise(mode, width, height)
        encoder(file, pixels.astype(np.uint16) << 8 if deep else pixels, **options)

    return make


def accepted() -> dict[str, tuple[str, Make]]:
    """Name -> format and maker; each has as many pixels as its format may have."""
    png, tiff = encoded_pictures.png, encoded_pictures.tiff
    cases: dict[str, tuple[str, Make]] = {}
    for mode in ("L", "RGB", "CMYK"):
        for name, options in {"": {}, " progressive": {"progressive": True}}.items():
            full = {"quality": 95, "subsampling": 0, **options}
            cases[f"JPEG {mode}{name}"] = "JPEG", by_pillow("JPEG", mode, **full)
    cases["JPEG RGB turned"] = "JPEG", by_pillow("JPEG", "RGB", exif=TURNED)
    for mode in ("1", "P", "L", "LA", "RGB", "RGBA", "I;16"):
        cases[f"PNG {mode}"] = "PNG", by_pillow("PNG", mode, compress_level=1)
    cases["PNG P transparent"] = "PNG", by_pillow("PNG", "P", compress_level=1, transparency=3)
    cases["PNG RGBA turned"] = "PNG", by_pillow("PNG", "RGBA", compress_level=1, exif=TURNED)
    cases["PNG animated"] = "PNG", by_pillow("PNG", "RGB", 2, compress_level=1)
    for mode in ("RGB", "RGBA"):
        cases[f"PNG {mode} interlaced"] = "PNG", by_us(png, mode, interlaced=True)
        cases[f"PNG {mode} 16 bits"] = "PNG", by_us(png, mode, True)
    for mode in ("RGB", "RGBA"):
        fast = {"method": 0, "quality": 30}
        cases[f"WEBP {mode}"] = "WEBP", by_pillow("WEBP", mode, **fast)
        cases[f"WEBP {mode} animated"] = "WEBP", by_pillow("WEBP", mode, 2, **fast)
        cases[f"AVIF {mode}"] = "AVIF", by_pillow("AVIF", mode, speed=10, subsampling="4:4:4")
        cases[f"JPEG2000 {mode}"] = (
            "JPEG2000",
            by_pillow("JPEG2000", mode, quality_mode="rates", quality_layers=[20]),
        )
    cases["WEBP RGBA lossless"] = "WEBP", by_pillow("WEBP", "RGBA", 1, 4, lossless=True, **fast)
    cases["AVIF RGB animated"] = "AVIF", by_pillow("AVIF", "RGB", 2, speed=10)
    for mode in ("L", "I;16"):
        cases[f"JPEG2000 {mode}"] = "JPEG2000", by_pillow("JPEG2000", mode, num_resolutions=2)
    cases["GIF P"] = "GIF", by_pillow("GIF", "P")
    cases["GIF P transparent, animated"] = "GIF", by_pillow("GIF", "P", 2, transparency=3)
    for packing in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma"):
        mode = "RGB" if packing == "jpeg" else "RGBA"
        cases[f"TIFF {mode} {packing}"] = "TIFF", by_pillow("TIFF", mode, compression=packing)
    cases["TIFF 1 group4"] = "TIFF", by_pillow("TIFF", "1", compression="group4")
    one = {"strip": 2**31 - 1, "compression": "tiff_lzw"}
    cases["TIFF CMYK lzw, one strip"] = "TIFF", by_pillow("TIFF", "CMYK", **one)
    cases["TIFF I;16 raw"] = "TIFF", by_pillow("TIFF", "I;16")
    for mode in ("RGB", "RGBA"):
        cases[f"TIFF {mode} 16 bits, one strip"] = "TIFF", by_us(tiff, mode, True)
        cases[f"TIFF {mode} 16 bits, tiled"] = "TIFF", by_us(tiff, mode, True, tile=4096)
        cases[f"TIFF {mode} tiled"] = "TIFF", by_us(tiff, mode, tile=256)
    for kind, modes in {"BMP": ("P", "L", "RGB"), "DIB": ("RGB",), "TGA": ("L", "RGB")}.items():
        for mode in modes:
            cases[f"{kind} {mode}"] = kind, by_pillow(kind, mode)
    for mode in ("L", "RGB", "I;16"):
        cases[f"PPM {mode}"] = "PPM", by_pillow("PPM", mode)
    cases["TGA LA packed"] = "TGA", by_pillow("TGA", "LA", rle=True)
    cases["SGI RGB"] = "SGI", by_pillow("SGI", "RGB")
    cases["PCX P"] = "PCX", by_pillow("PCX", "P")
    cases["SUN RGB"] = "SUN", by_us(encoded_pictures.sun, "RGB")
    cases["QOI"] = "QOI", encoded_pictures.qoi
    return cases


def refused() -> dict[str, tuple[Make, tuple[int, int]]]:
    """Name -> maker and size of well-formed pictures that are just beyond a limit."""
    cases: dict[str, tuple[Make, tuple[int, int]]] = {}
    for kind in (
        "JPEG",
        "PNG",
        "WEBP",
        "AVIF",
        "JPEG2000",
        "GIF",
        "TIFF",
        "BMP",
        "PPM",
        "SGI",
        "TGA",
    ):
        width, height = largest(kind)
        fast = {"AVIF": {"speed": 10}, "WEBP": {"method": 0}, "PNG": {"compress_level": 1}}
        cases[f"{kind} too many pixels"] = flat(kind, **fast.get(kind, {})), (width + 1, height + 1)
    for kind in ("JPEG", "PNG", "WEBP", "AVIF", "JPEG2000", "GIF", "TIFF", "BMP"):
        cases[f"{kind} too wide"] = flat(kind), (6464, 64)
        cases[f"{kind} too high"] = flat(kind), (64, 6464)
    for kind in ("BMP", "TIFF", "PPM", "JPEG", "WEBP"):
        cases[f"{kind} too many bytes"] = padded(kind, 201_000_000), (800, 600)
    cases["WEBP too many bytes of its own"] = padded("WEBP", 41_000_000), (800, 600)
    cases["PNG a long header"] = lengthy, (800, 600)
    return cases


def flat(kind: str, **options: Any) -> Make:
    mode = "L" if kind in ("GIF", "SGI") else "RGB"
    return lambda file, width, height: Image.new(mode, (width, height)).save(file, kind, **options)


def padded(kind: str, size: int) -> Make:
    """Makes a picture with bytes behind its end, which readers skip."""

    def make(file: Path, width: int, height: int) -> None:
        flat(kind)(file, width, height)
        with file.open("ab") as out:
            out.truncate(size)

    return make


def lengthy(file: Path, width: int, height: int) -> None:
    """A PNG with 100 MB in a chunk of its own before the pixels."""
    text = PngImagePlugin.PngInfo()
    text.add(b"prVt", bytes(100_000_000))
    Image.new("RGB", (width, height)).save(file, "PNG", pnginfo=text)


def largest(kind: str, extreme: bool = False) -> tuple[int, int]:
    """The (width, height) of the most pixels that a format may have."""
    pixels = LIMITS.megapixels * 1e6 * (HEAVY_PIXELS if kind in HEAVY else 1)
    height = int((pixels / (LIMITS.ratio if extreme else 1.5)) ** 0.5)
    return min(int(pixels // height), int(height * LIMITS.ratio)), height


def megabytes(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / 1e6


def measure(file: Path, results: Any) -> None:
    """Read a picture as the stages do. Sends the peak, MB, and why it is refused, or ''."""
    resize, augment = evaluation(MODEL)[0], training(MODEL, "rand-m9-n2", 0.3, 0.5)
    plain = io.BytesIO()
    Image.new("RGB", (64, 64)).save(plain, "JPEG")
    augment(resize(decode(plain.getvalue())))  # imports what is imported at first use
    idle, reason = megabytes("VmRSS"), ""
    try:
        with file.open("rb") as opened, open_header(opened):
            pass
        content, _ = image_file.examined(file, "decode")
        image = image_file.image(file, content)
        for way in (resize, augment):
            way(image)
    except ValueError as error:
        reason = str(error)
        with suppress(ValueError):
            image_file.examined(file, "decode")
    results.send((megabytes("VmHWM") - idle, reason))


def in_a_fresh_process(work: Callable[..., object], *arguments: Any) -> Any:
    """What `work` sends, or None."""
    context = multiprocessing.get_context("fork")  # of this process, which has read no picture
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(*arguments, theirs))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        return None
    finally:
        process.join()


def made(make: Make, file: Path, width: int, height: int, results: Any) -> None:
    make(file, width, height)
    results.send(file.stat().st_size / 1e6)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the names of the cases to run")
    names = parser.parse_args().names
    cases = [(n, make, largest(kind), ACCEPTED) for n, (kind, make) in accepted().items()]
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        width, height = largest(kind, extreme=True)
        side = {"JPEG": 65_000, "WEBP": 16_000}.get(kind, width)  # the longest side of a format
        shape = (side, height * side // width)
        cases.append((f"{kind} of extreme shape", by_pillow(kind, "RGB"), shape, ACCEPTED))
    cases += [(n, make, shape, REFUSED) for n, (make, shape) in refused().items()]
    chosen = [case for case in cases if not names or any(part in case[0] for part in names)]
    wrong = []
    print(f"{'picture':34}{'width x height':>16}{'file MB':>9}{'peak MB':>9}{'s':>6}")
    with tempfile.TemporaryDirectory() as folder:
        for name, make, (width, height), most in chosen:
            file = Path(folder) / "picture"
            size = in_a_fresh_process(made, make, file, width, height)
            began = time.perf_counter()
            result = in_a_fresh_process(measure, file) if size is not None else None
            seconds = time.perf_counter() - began
            file.unlink(missing_ok=True)
            if size is None or result is None:
                wrong.append(f"{name}: the process that {'read' if size else 'made'} it ended")
                continue
            peak, reason = result
            print(
                f"{name:34}{width:>9} x {height:<5}{size:>8.1f}{peak:>9.0f}{seconds:>6.1f}",
                flush=True,
            )
            if peak > most:
                wrong.append(f"{name}: {peak:.0f} MB, of at most {most}")
            if not (reason.startswith("too large: ") if most == REFUSED else reason == ""):
                wrong.append(f"{name}: {reason or 'accepted'}")
    print(f"{len(chosen)} pictures", *wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
