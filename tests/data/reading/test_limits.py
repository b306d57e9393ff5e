"""Pictures that are too large are refused before they are decoded, with the limit that they break.

All pictures here are small and sound; the limits are lowered instead.
"""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, PngImagePlugin

from soup.cli.image_files import _read as read_to_predict
from soup.data.errors import DataError
from soup.data.reading import decoding, formats, image_file, limits
from soup.data.reading.decoding import decode
from soup.data.reading.formats import open_header, open_image
from soup.data.reading.image_file import examined, image, read, size
from soup.data.reading.limits import BeyondLimits, HeaderReader, Limits, default_limits
from tests.worlds import picture

FEW = Limits(megapixels=0.001)  # 1,000 pixels; of heavy formats 500
KINDS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "SGI", "TGA"]


def encoded(kind: str, shape: tuple[int, int] = (40, 30), **options: object) -> bytes:
    file = io.BytesIO()
    picture((200, 90, 30), 0, shape).save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a test in which anything is decoded."""
    monkeypatch.setattr("soup.data.reading.decoding._by_torchvision", None)
    monkeypatch.setattr("soup.data.reading.decoding.rgb", None)
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)


@pytest.mark.usefixtures("undecoded")
@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(kind: str) -> None:
    heavy = kind in limits.HEAVY
    most = f"0.0005 of a {kind}, which takes more memory to decode" if heavy else "0.001"
    with pytest.raises(BeyondLimits) as caught:
        decode(encoded(kind), FEW)
    assert str(caught.value) == (
        f"too large: 40 x 30, 0.0 megapixels, of at most {most}; raise data.limits.megapixels, "
        "or for a command or a server MODELSOUP_MEGAPIXELS"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_of_just_as_many_pixels_as_the_limit_is_read(kind: str) -> None:
    shape = (25, 20) if kind in limits.HEAVY else (40, 25)
    assert decode(encoded(kind, shape), FEW).size == shape
    with pytest.raises(BeyondLimits):
        decode(encoded(kind, (shape[0] + 1, shape[1])), FEW)


@pytest.mark.usefixtures("undecoded")
@pytest.mark.parametrize("shape", [(301, 3), (3, 301)])
def test_a_picture_of_an_extreme_shape_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(
        BeyondLimits, match=r"is a shape of 100 to 1, of at most 100; raise data\.l"
    ):
        decode(encoded("PNG", shape))


def test_a_picture_of_just_the_ratio_is_read() -> None:
    assert decode(encoded("PNG", (300, 3))).size == (300, 3)


@pytest.mark.usefixtures("undecoded")
def test_a_file_of_too_many_bytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path, low = tmp_path / "a.png", Limits(megabytes=0.001)
    path.write_bytes(encoded("PNG"))
    told = r"too large: 0\.0 megabytes, of at most 0\.001; raise data\.limits\.megabytes"
    for way in (read, size, image_file.encoded):
        with pytest.raises(ValueError, match=told):
            way(path, limits=low)
    with pytest.raises(ValueError, match=f"^{told}"):
        examined(path, "decode", low)
    with pytest.raises(ValueError, match=told):
        decode(encoded("PNG"), low)


def test_heavy_formats_have_a_fifth_of_the_bytes() -> None:
    data = encoded("WEBP", lossless=True)
    assert decode(data, Limits(megabytes=len(data) * 5 / 1e6)).size == (40, 30)
    with pytest.raises(BeyondLimits, match="of a WEBP, which takes more memory"):
        decode(data, Limits(megabytes=(len(data) - 1) * 5 / 1e6))


@pytest.mark.parametrize("how", ["decode", "header"])
def test_prepare_is_told_which_limit_a_picture_breaks(tmp_path: Path, how: str) -> None:
    (tmp_path / "a.png").write_bytes(encoded("PNG"))
    with pytest.raises(ValueError, match=r"^too large: 40 x 30, .* of at most 0\.001; raise data"):
        examined(tmp_path / "a.png", how, FEW)  # type: ignore[arg-type]
    assert examined(tmp_path / "a.png", how)  # type: ignore[arg-type]


def test_a_later_stage_is_told_of_the_picture_too(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded("PNG"))
    with pytest.raises(DataError, match=r"a\.png: too large: 40 x 30, .*; run prepare again"):
        image(tmp_path / "a.png", limits=FEW)


@pytest.mark.usefixtures("undecoded")
def test_of_a_large_file_only_the_header_is_read_before_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, asked = tmp_path / "a.bmp", []
    path.write_bytes(encoded("BMP", (400, 300)))
    monkeypatch.setattr(image_file, "SMALL", 1000)
    plain = HeaderReader.read
    monkeypatch.setattr(HeaderReader, "read", lambda f, n=-1: (asked.append(n), plain(f, n))[1])
    with pytest.raises(BeyondLimits):
        read(path, FEW)
    assert 0 < sum(asked) < 1000
    assert min(asked) > 0


def test_a_header_that_goes_on_and_on_is_refused_and_the_rest_of_an_accepted_file_is_not() -> None:
    text = PngImagePlugin.PngInfo()
    text.add(b"prVt", bytes(5000))
    long = encoded("PNG", pnginfo=text)
    low = Limits(megabytes=5 * len(long) / 1e6 / 3)  # of which a fifth: a third of the file
    with pytest.raises(BeyondLimits, match="its size is not known after a fifth of the limit"):
        open_header(io.BytesIO(long), low)
    plain = encoded("PNG")
    low = Limits(megabytes=5 * len(plain) / 1e6 / 3)
    opened = open_header(io.BytesIO(plain), low)
    opened.load()
    assert opened.size == (40, 30)


def test_a_large_block_of_metadata_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "METADATA", 50)
    data = encoded("PNG", icc_profile=bytes(60))
    with pytest.raises(BeyondLimits, match=r"^too large: its icc_profile takes .*; remove it from"):
        open_image(io.BytesIO(data))
    assert open_image(io.BytesIO(encoded("PNG", icc_profile=bytes(50)))).size == (40, 30)


def test_a_large_tile_of_a_small_tiff_is_refused() -> None:
    with Image.open(io.BytesIO(encoded("TIFF"))) as opened:
        opened.tag_v2[limits.TILE_WIDTH], opened.tag_v2[limits.TILE_HEIGHT] = 64, 64
        with pytest.raises(BeyondLimits, match=r"too large: a tile of 64 x 64, 0\.0 megapixels"):
            limits.require_within(opened, 100, Limits(megapixels=0.002))
        limits.require_within(opened, 100, Limits(megapixels=0.005))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("factor", [1, 3])
def test_pillow_s_own_guard_speaks_in_our_words(
    monkeypatch: pytest.MonkeyPatch, factor: int
) -> None:
    """Above its limit Pillow warns, above twice its limit it raises an error."""
    data = encoded("PNG", (40, 30 * factor))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(BeyondLimits, match=r"^too large: .* megapixels, of at most 0\.0009; raise"):
        open_image(io.BytesIO(data), Limits(megapixels=0.0009))


def test_a_raised_limit_raises_pillow_s_guard_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decode(encoded("PNG"), Limits(megapixels=0.01)).size == (40, 30)
    assert Image.MAX_IMAGE_PIXELS == 10_000


def test_commands_and_servers_take_their_limits_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    default_limits.cache_clear()
    assert default_limits() == Limits()
    for text, expected in (("0.001", 0.001), ("200", 200)):
        monkeypatch.setenv("MODELSOUP_MEGAPIXELS", text)
        default_limits.cache_clear()
        assert default_limits() == Limits(megapixels=expected)
    for text in ("many", "0", "-3", "nan", "inf"):
        monkeypatch.setenv("MODELSOUP_MEGAPIXELS", text)
        default_limits.cache_clear()
        with pytest.raises(ValueError, match=f"MODELSOUP_MEGAPIXELS={text}: must be a number ab"):
            default_limits()
    monkeypatch.undo()
    default_limits.cache_clear()


@pytest.mark.parametrize("small", [image_file.SMALL, 100])
def test_predict_keeps_to_the_limits_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    (tmp_path / "a.png").write_bytes(encoded("PNG"))
    assert read_to_predict(tmp_path / "a.png", lambda image: image).shape == (30, 40, 3)
    monkeypatch.setattr(image_file, "SMALL", small)
    monkeypatch.setattr(limits, "default_limits", None)
    for module in (formats, decoding, image_file):
        monkeypatch.setattr(module, "default_limits", lambda: FEW)
    with pytest.raises(DataError, match=r"^/.*/a\.png: too large: 40 x 30, 0\.0 megapixels, of at"):
        read_to_predict(tmp_path / "a.png", lambda image: image)


def test_the_parameters_have_the_same_defaults() -> None:
    from soup.config.data import ImageLimits

    assert Limits(**ImageLimits().model_dump()) == Limits()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"unreadable: no regular file: a\.png"):
        examined(tmp_path / "a.png", "decode")


def test_a_picture_converted_in_bands_has_the_pixels_of_one_converted_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (23, 17, 4), dtype=np.uint8))
    deep = Image.fromarray(rng.integers(0, 65536, (23, 17), dtype=np.uint16))
    turned = Image.Exif()
    turned[0x0112] = 8
    for kept in (noise, noise.convert("LA"), noise.convert("RGB").quantize(9), deep):
        file = io.BytesIO()
        kept.save(file, "PNG", exif=turned)
        whole = np.asarray(decode(file.getvalue()))
        with monkeypatch.context() as patched:
            patched.setattr("soup.data.reading.color_modes.BAND", 40)  # two rows
            np.testing.assert_array_equal(np.asarray(decode(file.getvalue())), whole)
