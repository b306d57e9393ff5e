"""Training images in memory, decoded or encoded, are those of the files."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from soup.config.data import Data, HeldOut
from soup.data.errors import Unreadable
from soup.data.loading.images import from_files
from soup.data.loading.packed import training_images
from soup.data.sources.folders import DataError
from soup.data.split.manifest import Row
from soup.data.split.prepare import prepare
from tests.worlds import COLOURS, draw, image_store, picture

CLASSES = sorted(COLOURS)
GIB = 2**30


def rows_of(root: Path, check: str = "decode") -> list[Row]:
    made = prepare(Data(root=".", check=check, heldout=HeldOut(per_class=1)), root)
    return [row for row in made.development if row.split == "train"]


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    draw(tmp_path / "train", dict.fromkeys(COLOURS, 9), size=(30, 24), suffix="jpg")
    draw(tmp_path / "train", {"red": 2}, size=(18, 26), first=50, suffix="jpg")
    draw(tmp_path / "train", {"blue": 1}, size=(5, 7), first=80)
    draw(tmp_path / "test", {"red": 1})
    return rows_of(tmp_path)


def bytes_of(rows: list[Row], root: Path) -> tuple[int, int]:
    """Of all images decoded, and encoded."""
    pixels = sum(np.prod(Image.open(root / row.path).size) * 3 for row in rows)
    return int(pixels), sum((root / row.path).stat().st_size for row in rows)


@pytest.mark.parametrize("form", ["decoded", "encoded", "files"])
def test_images_of_several_sizes_are_the_same_in_every_form(
    tmp_path: Path, rows: list[Row], form: str
) -> None:
    pixels, encoded = bytes_of(rows, tmp_path)
    assert pixels > 1.5 * encoded
    room = {"decoded": 2 * pixels, "encoded": pixels - 1, "files": encoded - 1}[form]
    images = training_images(image_store(tmp_path, limit_gib=room / GIB), rows, CLASSES)
    assert images.pixels is None
    assert (images.held is None) == (form == "files")
    kept = max([f.stat().st_size for f in (tmp_path / "cache").glob("*.npy")], default=0)
    expected = {"decoded": pixels, "encoded": encoded, "files": 24 * len(rows)}[form]
    assert kept == 128 + expected  # numpy's header, and for files the table of sizes alone
    plain = from_files(rows, tmp_path, CLASSES)
    assert images.labels.tolist() == plain.labels.tolist()
    for index in range(len(rows)):
        np.testing.assert_array_equal(np.asarray(images[index]), np.asarray(plain[index]))


def test_images_of_one_size_are_one_array(tmp_path: Path, rows: list[Row]) -> None:
    alike = [row for row in rows if row.path[-6:] < "20.jpg"]
    images = training_images(image_store(tmp_path), alike, CLASSES)
    assert images.pixels is not None
    assert images.pixels.shape == (len(alike), 24, 30, 3)


def test_a_second_opening_reads_no_image(tmp_path: Path, rows: list[Row]) -> None:
    first = training_images(image_store(tmp_path), rows, CLASSES)
    for path in (tmp_path / "train").rglob("*.*"):
        path.unlink()
    again = training_images(image_store(tmp_path), rows, CLASSES)
    for index in range(len(rows)):
        np.testing.assert_array_equal(np.asarray(again[index]), np.asarray(first[index]))


@pytest.mark.parametrize("room", [1.0, 30000 / GIB])
def test_an_image_that_changed_since_the_split_is_named(
    tmp_path: Path, rows: list[Row], room: float
) -> None:
    with (tmp_path / rows[4].path).open("ab") as file:
        file.write(b"more")
    with pytest.raises(DataError, match=rf"{rows[4].path} has changed since the split was made"):
        training_images(image_store(tmp_path, limit_gib=room), rows, CLASSES)
    (tmp_path / rows[7].path).unlink()
    with pytest.raises(DataError, match=rf"{rows[7].path}.*run prepare again"):
        training_images(image_store(tmp_path, "other", room), rows, CLASSES)


def test_an_encoded_image_that_cannot_be_decoded_is_named(tmp_path: Path, rows: list[Row]) -> None:
    path = tmp_path / rows[4].path
    whole = io.BytesIO()
    picture((9, 8, 7), 0, (30, 24)).save(whole, "PNG")
    path.write_bytes(whole.getvalue()[:200] + whole.getvalue()[-12:])  # the end is a whole one's
    assert bytes_of(rows, tmp_path)[1] < 30000
    images = training_images(
        image_store(tmp_path, limit_gib=30000 / GIB), rows_of(tmp_path, "header"), CLASSES
    )
    assert images.held is not None
    path.write_bytes(b"")  # it is not read from there
    with pytest.raises(DataError, match=rf"{rows[4].path} cannot be decoded: "):
        images[4]


@pytest.mark.parametrize("alike", [True, False])
def test_images_of_which_one_cannot_be_decoded_are_kept_encoded(
    tmp_path: Path, rows: list[Row], alike: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A header check passes it; in training the next image stands in for it (`batches.py`)."""
    whole = io.BytesIO()
    picture((9, 8, 7), 0, (30, 24)).save(whole, "PNG")
    (tmp_path / rows[4].path).write_bytes(whole.getvalue()[:200] + whole.getvalue()[-12:])
    rows = [r for r in rows_of(tmp_path, "header") if not alike or r.path[-6:] < "20.jpg"]
    images = training_images(image_store(tmp_path), rows, CLASSES)
    assert "so the training images are not kept decoded" in caplog.text
    plain = from_files(rows, tmp_path, CLASSES)
    for index in range(len(rows)):
        if index == 4:
            with pytest.raises(Unreadable, match=rf"{rows[4].path} cannot be decoded"):
                images[index]
        else:
            np.testing.assert_array_equal(np.asarray(images[index]), np.asarray(plain[index]))
