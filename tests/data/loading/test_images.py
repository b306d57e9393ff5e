"""Images decoded once: the same as decoded directly, and an error where they are not."""

import errno
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from soup.config.data import Data, HeldOut
from soup.data.errors import Unreadable
from soup.data.loading import images as module
from soup.data.loading.image_store import ImageStore
from soup.data.loading.images import Decode, Images, decoded, from_files
from soup.data.loading.packed import training_images
from soup.data.reading.limits import Limits
from soup.data.sources.folders import DataError
from soup.data.split.manifest import Row
from soup.data.split.prepare import prepare
from soup.models.transforms import evaluation
from tests.worlds import COLOURS, architecture, draw, image_store

CLASSES = sorted(COLOURS)


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    draw(tmp_path / "train", dict.fromkeys(COLOURS, 4), size=(30, 24))
    draw(tmp_path / "train", {"red": 1}, size=(18, 26), first=50, suffix="jpg")
    draw(tmp_path / "test", {"red": 1})
    made = prepare(Data(root=".", heldout=HeldOut(per_class=1)), tmp_path)
    return [row for row in made.development if row.split == "train"]


def small(image: Image.Image) -> Image.Image:
    return image.resize((10, 8))


def test_decoded_images_equal_those_read_and_resized_directly(
    tmp_path: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 4)  # several blocks, the last one not full
    images = decoded(image_store(tmp_path), rows, CLASSES, small, "small")
    direct = [np.asarray(small(Image.open(tmp_path / r.path).convert("RGB"))) for r in rows]
    assert images.pixels is not None
    assert images.pixels.dtype == np.uint8
    np.testing.assert_array_equal(images.pixels, direct)
    assert images.labels.tolist() == [CLASSES.index(r.label) for r in rows]
    assert images.paths == tuple(tmp_path / r.path for r in rows)
    assert len(images) == len(rows)
    np.testing.assert_array_equal(np.asarray(images[2]), direct[2])


def test_the_resize_of_evaluation_is_torchvision_s(tmp_path: Path, rows: list[Row]) -> None:
    from torchvision.transforms import functional

    cropped = architecture(size=16).__class__(**{**vars(architecture(16)), "crop_pct": 0.8})
    images = decoded(image_store(tmp_path), rows, CLASSES, *evaluation(cropped))
    assert images.pixels is not None
    mode = functional.InterpolationMode.BICUBIC
    for row, pixels in zip(rows, images.pixels, strict=True):
        image = Image.open(tmp_path / row.path).convert("RGB")
        image = functional.center_crop(functional.resize(image, [20], mode), [16])
        np.testing.assert_array_equal(pixels, np.asarray(image))


def test_a_second_opening_decodes_nothing(tmp_path: Path, rows: list[Row]) -> None:
    def counted(seen: list[int]) -> Decode:
        def resize(image: Image.Image) -> Image.Image:
            seen.append(1)
            return small(image)

        return resize

    first: list[int] = []
    again: list[int] = []
    before = decoded(image_store(tmp_path), rows, CLASSES, counted(first), "small")
    shutil.rmtree(tmp_path / "train")
    after = decoded(image_store(tmp_path), rows, CLASSES, counted(again), "small")
    assert (len(first), len(again)) == (len(rows), 0)
    np.testing.assert_array_equal(np.asarray(after.pixels), np.asarray(before.pixels))
    assert isinstance(after.pixels, np.memmap)


@pytest.mark.parametrize("part", ["how", "content", "order", "code"])
def test_another_content_order_or_resize_is_another_entry(
    tmp_path: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    decoded(image_store(tmp_path), rows, CLASSES, small, "small")
    if part == "content":
        draw(tmp_path / "train", {"red": 1}, first=50, suffix="jpg")
        made = prepare(Data(root=".", heldout=HeldOut(per_class=1)), tmp_path)
        other = [row for row in made.development if row.split == "train"]
    else:
        other = rows[::-1] if part == "order" else rows
    how = "smaller" if part == "how" else "small"
    if part == "code":
        monkeypatch.setattr(module, "of_code", lambda *_: "later")
    decoded(image_store(tmp_path), other, CLASSES, small, how)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def overwrite(path: Path) -> None:
    Image.new("RGB", (30, 24)).save(path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (overwrite, "has changed since the split was made; run prepare again"),
        (Path.unlink, "No such file.*; run prepare again"),
        (cut, "unreadable: .*; it was whole when the split was made; run prepare again"),
    ],
)
def test_an_image_that_changed_since_the_split_is_named(
    tmp_path: Path, rows: list[Row], change: Callable[[Path], Any], reason: str
) -> None:
    change(tmp_path / rows[3].path)
    with pytest.raises(DataError, match=f"{rows[3].path}.*{reason}"):
        decoded(image_store(tmp_path), rows, CLASSES, small, "small")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_header_checked_image_that_changed_its_size_is_named(
    tmp_path: Path, rows: list[Row]
) -> None:
    made = prepare(Data(root=".", check="header", heldout=HeldOut(per_class=1)), tmp_path)
    overwrite(tmp_path / made.development.rows[0].path)
    with pytest.raises(DataError, match=f"{made.development.rows[0].path} has changed"):
        decoded(
            image_store(tmp_path),
            made.development.rows,
            CLASSES,
            small,
            "small",
        )


class FullDisk:
    """A file that takes `room` bytes and no more."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self._room = file, room

    def write(self, data: bytes) -> int:
        self._room -= len(data)
        if self._room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return int(self._file.write(data))

    def __enter__(self) -> "FullDisk":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


@pytest.mark.parametrize("room", [0, 500, 2000])
def test_a_full_disk_is_an_error_and_leaves_no_file(
    tmp_path: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    plain = Path.open

    def opened(self: Path, mode: str = "r", **kwargs: Any) -> Any:
        file = plain(self, mode, **kwargs)
        return FullDisk(file, room) if mode == "wb" else file

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(OSError, match="No space left"):
        decoded(image_store(tmp_path), rows, CLASSES, small, "small")
    assert list((tmp_path / "cache").iterdir()) == []
    monkeypatch.setattr(Path, "open", plain)
    assert len(decoded(image_store(tmp_path), rows, CLASSES, small, "small")) == len(rows)


def test_a_set_that_has_no_room_is_read_anew_and_it_is_said(
    tmp_path: Path, rows: list[Row], caplog: pytest.LogCaptureFixture
) -> None:
    held = decoded(image_store(tmp_path), rows, CLASSES, small, "small")
    read = decoded(image_store(tmp_path, "none", 1e-7), rows, CLASSES, small, "small")
    assert read.pixels is None
    assert list((tmp_path / "none").iterdir()) == []
    assert "raise compute.cache_gib" in caplog.text
    assert held.pixels is not None
    rest = np.arange(2, len(rows))
    np.testing.assert_array_equal(read.part(rest), held.part(rest))
    np.testing.assert_array_equal(np.asarray(read[3]), np.asarray(held[3]))
    assert read.digest == held.digest != ""


def test_an_image_that_can_no_longer_be_decoded_is_named_when_it_is_read(
    tmp_path: Path, rows: list[Row]
) -> None:
    images = from_files(rows, tmp_path, CLASSES)
    cut(tmp_path / rows[2].path)
    with pytest.raises(DataError, match=rf"{rows[2].path}: unreadable: .*run prepare again"):
        images[2]


def test_an_image_that_is_as_it_was_and_cannot_be_decoded_is_named(
    tmp_path: Path, rows: list[Row]
) -> None:
    cut(tmp_path / rows[3].path)
    length = (tmp_path / rows[3].path).stat().st_size
    cropped = [Row(rows[3].path, "red", "train", f"{length}-bytes")]
    with pytest.raises(DataError, match=f"{rows[3].path}: unreadable: .*mend it or remove"):
        decoded(image_store(tmp_path), cropped, CLASSES, small, "small")


def test_all_images_that_cannot_be_decoded_are_named_at_once(
    tmp_path: Path, rows: list[Row]
) -> None:
    broken = {rows[index].path for index in (0, 2, 5)}
    for path in broken:
        cut(tmp_path / path)
    sized = [replace(row, content=f"{(tmp_path / row.path).stat().st_size}-bytes") for row in rows]
    with pytest.raises(Unreadable) as caught:
        decoded(image_store(tmp_path), sized, CLASSES, small, "small")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(any(path in line for line in lines) for path in broken)
    assert all("set data.check: decode, which leaves it out" in line for line in lines)


def test_images_from_files_are_read_at_their_own_size_as_rgb(tmp_path: Path) -> None:
    Image.new("L", (7, 5), 9).save(tmp_path / "grey.png")
    Image.new("RGBA", (3, 4), (1, 2, 3, 0)).save(tmp_path / "clear.png")
    listed = [Row("grey.png", "red", "train", ""), Row("clear.png", "blue", "train", "")]
    images: Images = from_files(listed, tmp_path, CLASSES)
    assert images.pixels is None
    assert [images[i].size for i in range(2)] == [(7, 5), (3, 4)]
    assert [images[i].mode for i in range(2)] == ["RGB", "RGB"]
    assert images.labels.tolist() == [CLASSES.index("red"), CLASSES.index("blue")]


def test_images_known_by_their_size_alone_are_not_taken_from_another_place(tmp_path: Path) -> None:
    made = []
    for place, name in (("here", "red"), ("there", "blue")):
        (tmp_path / place / "x").mkdir(parents=True)
        Image.new("RGB", (6, 6), name).save(tmp_path / place / "x" / "0.bmp")
        size = (tmp_path / place / "x" / "0.bmp").stat().st_size
        row = Row("x/0.bmp", "x", "test", f"{size}-bytes")
        cache = tmp_path / "cache"
        made.append(
            decoded(ImageStore(tmp_path / place, cache, 8.0), [row], ["x"], small, "small").pixels
        )
    assert not np.array_equal(made[0], made[1])


def test_images_that_cannot_be_resized_are_named(tmp_path: Path, rows: list[Row]) -> None:
    framed, how = evaluation(architecture(), border=12)  # of 24 rows, and of 18 columns
    with pytest.raises(Unreadable, match=rf"{rows[0].path} cannot be used: .* a border of 12"):
        decoded(image_store(tmp_path), rows, CLASSES, framed, how)
    read = replace(from_files(rows, tmp_path, CLASSES), resize=framed)
    with pytest.raises(Unreadable, match=rf"{rows[0].path} cannot be used: .* a border of 12"):
        read[0]


def test_every_way_to_an_image_keeps_to_the_limits_of_the_store(
    tmp_path: Path, rows: list[Row]
) -> None:
    low = replace(image_store(tmp_path), limits=Limits(megapixels=0.0005))
    ways: list[Callable[[], object]] = [
        lambda: decoded(low, rows, CLASSES, small, "small"),
        lambda: from_files(rows, tmp_path, CLASSES, low.limits)[0],
        lambda: training_images(low, rows, CLASSES),
    ]
    for way in ways:
        with pytest.raises(
            DataError, match=r"too large: 30 x 24, .*raise data\.limits\.megapixels"
        ):
            way()
    enough = replace(low, limits=Limits(megapixels=0.001))
    assert len(training_images(enough, rows, CLASSES)) == len(rows)
