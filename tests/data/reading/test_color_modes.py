"""Modes of images: each by the pixels that it must give."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from soup.cli.image_files import _read as read_to_predict
from soup.data.loading.images import decoded, from_files
from soup.data.reading import image_file
from soup.data.reading.color_modes import ORIENTATION, orientation, rgb, upright_size
from soup.data.split.manifest import Row
from soup.serving.classifier import opened
from tests.worlds import image_store


def saved(image: Image.Image, kind: str = "png", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def reopened(image: Image.Image, kind: str = "png", **options: object) -> Image.Image:
    """Through a file, as it comes from disk."""
    return Image.open(io.BytesIO(saved(image, kind, **options)))


def pixels(image: Image.Image) -> list:
    made = rgb(image)
    assert made.mode == "RGB"
    return np.asarray(made).reshape(-1, 3).tolist()


def test_grey_black_and_white_and_colour_mean_what_they_say() -> None:
    grey = Image.fromarray(np.array([[0, 77, 255]], np.uint8))
    assert pixels(reopened(grey)) == [[0] * 3, [77] * 3, [255] * 3]
    bits = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert pixels(reopened(bits)) == [[0] * 3, [255] * 3]
    colour = Image.fromarray(np.array([[[1, 2, 3], [250, 0, 9]]], np.uint8))
    assert pixels(reopened(colour)) == [[1, 2, 3], [250, 0, 9]]


@pytest.mark.parametrize("kind", ["png", "tiff", "ppm"])
def test_of_16_bit_grey_the_high_byte_is_taken_and_nothing_is_clipped(kind: str) -> None:
    deep = Image.fromarray(np.array([[0, 255, 256, 0x80FF, 0xFFFF]], np.uint16))
    image = reopened(deep, kind)
    assert image.mode.startswith("I")
    assert pixels(image) == [[0] * 3, [0] * 3, [1] * 3, [0x80] * 3, [255] * 3]


def test_16_bit_grey_of_the_other_byte_order_gives_the_same() -> None:
    values = np.array([[0, 256, 0xFFFF]], ">u2")
    image = Image.frombytes("I;16B", (3, 1), values.tobytes())
    assert pixels(image) == [[0] * 3, [1] * 3, [255] * 3]


def test_transparency_is_laid_over_white() -> None:
    clear = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], np.uint8)
    assert pixels(reopened(Image.fromarray(clear))) == [[10, 20, 30], [255] * 3, [204] * 3]
    grey = np.array([[[10, 255], [10, 0]]], np.uint8)
    assert pixels(reopened(Image.fromarray(grey, "LA"))) == [[10] * 3, [255] * 3]


def test_a_palette_is_looked_up_and_its_transparent_colour_is_white() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([2, 0, 1])
    assert pixels(reopened(image)) == [[0, 0, 255], [255, 0, 0], [0, 255, 0]]
    image.info["transparency"] = 0
    assert pixels(reopened(image, transparency=0)) == [[0, 0, 255], [255] * 3, [0, 255, 0]]


def test_cmyk_becomes_the_colour_that_it_prints() -> None:
    inks = np.zeros((8, 8, 4), np.uint8)
    inks[...] = (0, 255, 255, 0)
    image = reopened(Image.fromarray(inks, "CMYK"), "jpeg", quality=100, subsampling=0)
    assert image.mode == "CMYK"
    np.testing.assert_allclose(pixels(image)[0], [255, 0, 0], atol=3)


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_turns_an_image_as_its_table_says(turn: int) -> None:
    """EXIF 2.3, tag 274: where row 0 and column 0 of the stored image stand."""
    stored = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    upright = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.T,
        6: stored[::-1].T,
        7: stored[::-1, ::-1].T,
        8: stored[:, ::-1].T,
    }[turn]
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    image = reopened(Image.fromarray(stored), exif=exif)
    assert upright_size(image) == upright.shape[::-1]
    np.testing.assert_array_equal(np.asarray(rgb(image))[..., 0], upright)


def test_16_bits_are_turned_too() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    image = reopened(Image.fromarray(np.array([[0x1000, 0x2000]], np.uint16)), exif=exif)
    assert np.asarray(rgb(image))[..., 0].tolist() == [[0x10], [0x20]]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("block", [b"Exif\0\0", b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\0\0"])
def test_a_broken_or_empty_exif_block_leaves_the_image_as_it_is(block: bytes) -> None:
    image = reopened(Image.new("RGB", (8, 4), (9, 9, 9)), "jpeg", exif=block)
    assert orientation(image) == 1
    assert rgb(image).size == (8, 4)


def test_an_orientation_that_is_none_counts_as_upright() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 99
    assert orientation(reopened(Image.new("RGB", (2, 4)), exif=exif)) == 1


@pytest.mark.parametrize("mode", ["F", "LAB"])
def test_pixels_without_an_agreed_colour_are_refused_by_mode(mode: str) -> None:
    image = reopened(Image.new(mode, (2, 2)), "tiff")
    with pytest.raises(ValueError, match=f"mode {mode} have no agreed 8-bit RGB; convert the file"):
        rgb(image)


@pytest.mark.parametrize("value", [-5, 70_000])
def test_whole_numbers_beyond_16_bits_are_refused_with_their_range(value: int) -> None:
    image = reopened(Image.fromarray(np.array([[3, value]], np.int32)), "tiff")
    with pytest.raises(ValueError, match=f"{value}.* are no 16-bit grey"):
        rgb(image)


def test_a_file_that_names_its_bytes_wrongly_is_broken_data_not_a_crash() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    whole = io.BytesIO()
    Image.new("L", (40, 40), 3).save(whole, "tiff", tiffinfo=tags)
    with pytest.raises((OSError, SyntaxError, ValueError)):
        rgb(Image.open(io.BytesIO(whole.getvalue()[:500])))


def odd_ones() -> dict[str, bytes]:
    """One image of each mode that a plain `convert` would take otherwise, in its file's form."""
    rng, exif = np.random.default_rng(0), Image.Exif()
    exif[ORIENTATION] = 8
    noise = Image.fromarray(rng.integers(0, 256, (6, 9, 4), dtype=np.uint8))
    return {
        "alpha": saved(noise),
        "turned": saved(noise.convert("RGB"), exif=exif),
        "deep": saved(Image.fromarray(rng.integers(0, 65536, (6, 9), dtype=np.uint16))),
        "palette": saved(noise.convert("RGB").quantize(8), transparency=1),
    }


@pytest.mark.parametrize("kind", list(odd_ones()))
def test_every_way_to_an_image_gives_the_same_pixels(tmp_path: Path, kind: str) -> None:
    """Decoded for the cache, read one by one, served, and asked about by the command."""
    data = odd_ones()[kind]
    expected = np.asarray(rgb(Image.open(io.BytesIO(data))))
    assert expected.tolist() != np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).tolist()
    (tmp_path / "x.png").write_bytes(data)
    row = Row("x.png", "a", "train", image_file.fingerprint(tmp_path / "x.png", "decode"))
    cached = decoded(image_store(tmp_path), [row], ["a"], lambda image: image, "as is")
    ways = {
        "cache": cached.pixels[0],
        "files": np.asarray(from_files([row], tmp_path, ["a"])[0]),
        "serving": np.asarray(opened(data)),
        "predict": read_to_predict(tmp_path / "x.png", lambda image: image),
    }
    for way, found in ways.items():
        np.testing.assert_array_equal(found, expected, err_msg=way)
    assert image_file.size(tmp_path / row.path) == expected.shape[1::-1]
