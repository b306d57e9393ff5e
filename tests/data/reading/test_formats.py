"""Every format of Pillow's that photographs come in is read, by its content, and no other."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from soup.data.reading.decoding import decode
from soup.data.reading.formats import FORMATS, IMAGE_SUFFIXES, UNREAD_SUFFIXES, is_whole
from soup.data.reading.image_file import fingerprint, image, size
from soup.data.sources.folders import scan
from tests.checkouts import REPO
from tests.worlds import picture

EXACT = [".png", ".apng", ".gif", ".bmp", ".dib", ".tif", ".ppm", ".qoi", ".sgi", ".pcx", ".tga"]
LOSSY = [".jpg", ".jpe", ".jfif", ".mpo", ".webp", ".avif", ".jp2", ".j2k"]


def flat(colour: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (16, 12), colour)


def test_the_suffixes_are_those_that_pillow_has_for_the_formats() -> None:
    Image.init()
    registered = Image.registered_extensions()
    for kind, suffixes in FORMATS.items():
        others = {"JPEG": {"JPEG", "MPO"}}.get(kind, {kind})
        theirs = {suffix for suffix, name in registered.items() if name in others}
        assert theirs == set(suffixes) or (kind == "AVIF" and not features.check("avif"))
    assert not IMAGE_SUFFIXES & UNREAD_SUFFIXES


@pytest.mark.parametrize("suffix", [*EXACT, *LOSSY])
def test_an_image_of_every_suffix_is_listed_and_read(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / f"x{suffix.upper()}"
    flat((200, 90, 30)).save(path, Image.registered_extensions()[suffix])
    found, left_out = scan(tmp_path, ".")
    assert [f.path for f in found] == [f"a/x{suffix.upper()}"]
    assert not left_out
    for how in ("decode", "header"):
        assert fingerprint(path, how)  # type: ignore[arg-type]
    assert size(path) == (16, 12)
    shown = np.asarray(image(path)).astype(int)
    assert shown.shape == (12, 16, 3)
    assert np.abs(shown - (200, 90, 30)).max() <= (0 if suffix in EXACT else 6)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
def test_of_an_animation_the_first_frame_is_read(kind: str) -> None:
    buffer = io.BytesIO()
    frames = [flat((250, 10, 10)), flat((10, 250, 10)), flat((10, 10, 250))]
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
    pixels = np.asarray(decode(buffer.getvalue())).astype(int)
    assert np.abs(pixels - (250, 10, 10)).max() <= 8


def test_a_transparent_gif_is_shown_over_white() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 2), 1)
    buffer = io.BytesIO()
    image.save(buffer, "GIF", transparency=0)
    pixels = np.asarray(decode(buffer.getvalue()))
    assert pixels[2, 1].tolist() == [0, 0, 255]
    assert (np.delete(pixels.reshape(-1, 3), 9, axis=0) == 255).all()


@pytest.mark.parametrize("kind", ["EPS", "PDF", "ICO", "DDS"])
@pytest.mark.parametrize("how", ["decode", "header"])
def test_other_formats_are_no_images_whatever_their_suffix(
    tmp_path: Path, kind: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")  # Ghostscript, were it started
    path = tmp_path / "a.png"
    flat((1, 2, 3)).save(path, kind)
    with pytest.raises(ValueError, match=r"^not an image$"):
        fingerprint(path, how)  # type: ignore[arg-type]


def test_a_picture_of_a_list_whose_format_is_not_read_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(ValueError, match=r"^\.heic is not read; convert it to \.png or \.jpg$"):
        fingerprint(tmp_path / "a.HEIC", "decode")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_the_end_of_a_file_tells_that_it_is_whole(kind: str) -> None:
    buffer = io.BytesIO()
    picture((40, 90, 160), 0, (30, 20)).save(buffer, kind)
    data = buffer.getvalue()
    assert is_whole(io.BytesIO(data), kind)
    for length in (1, 7, 11, len(data) // 2, len(data) - 13, len(data) - 1):
        assert not is_whole(io.BytesIO(data[:length]), kind)
    assert not is_whole(io.BytesIO(data), "TIFF")  # only decoding would tell


def test_pictures_are_opened_in_one_place() -> None:
    """By any other way there would be no limits, and more formats."""
    ways = re.compile(r"\bImage\.open\(|\bimread\(|\bread_image\(|\bdecode_\w+\(|default_loader")
    found = {
        f"{path.relative_to(REPO).as_posix()}: {way[0]}"
        for folder in ("soup", "flows", "examples")
        for path in (REPO / folder).rglob("*.py")
        for way in ways.finditer(path.read_text())
    }
    assert found == {
        "soup/data/reading/formats.py: Image.open(",
        "soup/data/reading/decoding.py: decode_jpeg(",
    }
