"""Both decoders give the same pixels, and what the fast one may not have goes to the other."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from soup.data.reading import decoding
from soup.data.reading.decoding import decode, is_plain_jpeg
from tests.worlds import picture

PHOTOGRAPHS = Path(__file__).parents[3] / "data" / "cifar10" / "test"


def encoded(mode: str = "RGB", form: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture((200, 90, 30), 0, (37, 21)).convert(mode).save(file, form, **options)
    return file.getvalue()


def by_pillow(data: bytes) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(exif=exif)


@pytest.mark.parametrize(
    ("data", "plain"),
    [
        (encoded(), True),
        (encoded(progressive=True), True),
        (encoded(subsampling=0, quality=30), True),
        (encoded(comment=b"c" * 500), True),
        (encoded("L"), False),
        (encoded("CMYK"), False),
        (turned(), False),
        (encoded(form="PNG"), False),
        (encoded("RGBA", "PNG"), False),
        (encoded("P", "GIF"), False),
    ],
)
def test_every_image_has_the_pixels_that_pillow_gives(data: bytes, plain: bool) -> None:
    assert is_plain_jpeg(data) == plain
    image = decode(data)
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), by_pillow(data))


def test_a_plain_jpeg_is_not_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "rgb", None)
    assert decode(encoded()).size == (37, 21)
    with pytest.raises(TypeError):
        decode(turned())


def test_a_large_jpeg_is_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MOST_BY_TORCHVISION", 37 * 21)
    assert not is_plain_jpeg(encoded())
    np.testing.assert_array_equal(np.asarray(decode(encoded())), by_pillow(encoded()))


def test_where_our_reading_of_a_header_differs_from_pillow_s_pillow_decodes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoding, "_plain_jpeg_size", lambda encoded: (37, 22))
    monkeypatch.setattr(decoding, "_by_torchvision", None)
    np.testing.assert_array_equal(np.asarray(decode(encoded())), by_pillow(encoded()))


@pytest.mark.parametrize("length", [0, 1, 3, 20, 160, 400, -2])
def test_a_cut_jpeg_is_an_error_in_pillow_s_words(length: int) -> None:
    with pytest.raises(OSError, match=r"(?i)truncated|not an image"):
        decode(encoded()[:length])


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="data/cifar10 is not here")
def test_real_photographs_have_the_pixels_that_pillow_gives() -> None:
    for path in sorted(PHOTOGRAPHS.rglob("*.jpg"))[::100]:
        assert is_plain_jpeg(path.read_bytes())
        np.testing.assert_array_equal(
            np.asarray(decode(path.read_bytes())), by_pillow(path.read_bytes())
        )
