"""The same picture in several places: kept on one side of a split, reported, refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from soup.config.data import Data, HeldOut, Shift
from soup.data.errors import DataError
from soup.data.sources.listing import listed
from soup.data.split.prepare import Prepared, prepare
from tests.worlds import COLOURS, draw, world


def as_it_is(image: Path, copy: Path) -> None:
    shutil.copy(image, copy.with_suffix(".png"))


def as_a_link(image: Path, copy: Path) -> None:
    copy.with_suffix(".png").symlink_to(image)


def as_a_bitmap(image: Path, copy: Path) -> None:
    Image.open(image).save(copy.with_suffix(".bmp"))


def packed_harder(image: Path, copy: Path) -> None:
    Image.open(image).save(copy.with_suffix(".png"), compress_level=9, optimize=True)


def turned_back_by_exif(image: Path, copy: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = Image.open(image).transpose(Image.Transpose.ROTATE_180)
    turned.save(copy.with_suffix(".png"), exif=exif)


Copy = Callable[[Path, Path], None]
COPIES = [as_it_is, as_a_link, as_a_bitmap, packed_harder, turned_back_by_exif]


def side_of(prepared: Prepared) -> dict[str, str]:
    return {row.path: row.split for row in prepared.development}


@pytest.mark.parametrize("copy", COPIES)
def test_test_images_among_the_training_images_are_an_error_that_names_them(
    tmp_path: Path, copy: Copy
) -> None:
    data = world(tmp_path)
    for number in (500, 502):
        copy(tmp_path / f"test/red/{number}.png", tmp_path / f"train/red/copy{number}.png")
    with pytest.raises(DataError) as caught:
        prepare(data, tmp_path)
    first, *_ = sorted(p.name for p in (tmp_path / "train/red").glob("copy*"))
    assert str(caught.value).startswith(
        "test: 2 of 12 images are pictures of train or held-out too: "
        f"test/red/500.png is train/red/{first}, test/red/502.png is "
    )
    assert "set data.overlap: report" in str(caught.value)
    reported = prepare(data.model_copy(update={"overlap": "report"}), tmp_path)
    assert [w for w in reported.warnings if w.startswith("test: 2 of 12 images are pictures")]
    assert len(reported.evaluation) == 12


@pytest.mark.parametrize("copy", COPIES[:2])
def test_where_only_headers_are_read_equal_bytes_are_the_same_picture(
    tmp_path: Path, copy: Copy
) -> None:
    data = world(tmp_path, check="header")
    # Files of one size, as bitmaps are, whose first 4 KiB agree too, are other pictures.
    pixels = np.zeros((80, 80, 3), np.uint8)
    for folder, value in (("train", 1), ("test", 2)):
        pixels[0, 0] = value  # a bitmap's first row is its last
        Image.fromarray(pixels).save(tmp_path / folder / "red" / "flat.bmp")
    assert not prepare(data, tmp_path).warnings
    copy(tmp_path / "test/blue/500.png", tmp_path / "train/blue/copy.png")
    with pytest.raises(DataError, match=r"test: 1 of 13 images .*blue/500\.png is train/blue/copy"):
        prepare(data, tmp_path)


def test_a_shift_that_shares_pictures_is_reported(tmp_path: Path) -> None:
    data = world(tmp_path, shifts={"s": Shift(folder="s")})
    shutil.copytree(tmp_path / "train/red", tmp_path / "s/red")
    (warning,) = prepare(data, tmp_path).warnings
    assert warning.startswith("s: 12 of 12 images are pictures of train or held-out too: ")
    assert warning.endswith("s/red/004.png is train/red/004.png, and 7 more")


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("fraction", [0.25, 0.5])
def test_copies_of_a_picture_are_on_one_side(tmp_path: Path, copy: Copy, fraction: float) -> None:
    data = world(tmp_path, heldout=HeldOut(fraction=fraction))
    before = side_of(prepare(data, tmp_path))
    for image in sorted((tmp_path / "train/red").iterdir()):
        copy(image, image.with_name(f"again_{image.stem}.png"))
    after = side_of(prepare(data, tmp_path))
    side: dict[str, set[str]] = {}
    for path, split in after.items():
        if "/red/" in path:
            side.setdefault(Path(path).stem.removeprefix("again_"), set()).add(split)
    assert all(len(splits) == 1 for splits in side.values())
    assert sum(splits == {"heldout"} for splits in side.values()) == 12 * fraction
    others = {path: split for path, split in before.items() if "/red/" not in path}
    assert others.items() <= after.items()


def test_a_picture_of_several_classes_trains_and_is_told(tmp_path: Path) -> None:
    data = world(tmp_path, heldout=HeldOut(fraction=0.5))
    for number in range(6):
        as_it_is(tmp_path / f"train/red/00{number}.png", tmp_path / f"train/blue/red{number}.png")
    prepared = prepare(data, tmp_path)
    held = {path for path, split in side_of(prepared).items() if split == "heldout"}
    assert not {f"train/red/00{n}.png" for n in range(6)} & held
    assert not [path for path in held if path.startswith("train/blue/red")]
    assert prepared.warnings[0].startswith(
        "train: 6 pictures stand under several classes: train/blue/red0.png and train/red/000.png, "
    )
    assert prepared.warnings[1] == "train: 6 images are copies of others"


def test_a_class_of_one_picture_cannot_be_split(tmp_path: Path) -> None:
    data = world(tmp_path)
    for image in sorted((tmp_path / "train/red").iterdir())[1:]:
        shutil.copy(tmp_path / "train/red/000.png", image)
    with pytest.raises(DataError, match=r"too few images to hold out .*: red \(12\); "):
        prepare(data, tmp_path)


def test_a_published_index_is_kept_and_what_it_shares_is_reported(tmp_path: Path) -> None:
    (tmp_path / "index.txt").write_text("blue/003.png\ngreen/001.png\nred/001.png\n")
    data = world(tmp_path, heldout=HeldOut(index="index.txt"))
    as_it_is(tmp_path / "train/red/001.png", tmp_path / "train/red/copy.png")
    prepared = prepare(data, tmp_path)
    assert side_of(prepared)["train/red/001.png"] == "heldout"
    assert prepared.warnings == (
        "train: 1 images are copies of others",
        "held-out: 1 of 3 images are pictures of train too: "
        "train/red/001.png is train/red/copy.png",
    )


def up(root: Path) -> None:
    (root / "train/red/up").symlink_to(root / "train")


def further_up(root: Path) -> None:
    (root / "train/red/up").symlink_to(root)


def around(root: Path) -> None:
    (root / "train/red/blue").symlink_to(root / "train/blue")
    (root / "train/blue/red").symlink_to(root / "train/red")


def beside(root: Path) -> None:
    (root / "train/a").symlink_to(root / "train/red")


@pytest.mark.parametrize("link", [up, further_up, around, beside])
@pytest.mark.parametrize("train", ["train", "linked"])
def test_a_link_to_a_folder_that_is_read_adds_no_image(
    tmp_path: Path, link: Callable[[Path], None], train: str
) -> None:
    draw(tmp_path / "train", dict.fromkeys(COLOURS, 2))
    (tmp_path / "linked").symlink_to(tmp_path / "train")
    data = Data(root=str(tmp_path), train=train)
    plain = listed(data.train, tmp_path, "train")
    link(tmp_path)
    found = listed(data.train, tmp_path, "train")
    assert found.found == plain.found
    assert len(found.found) == 6


def test_linked_folders_are_read_once_each_under_the_nearest_link(tmp_path: Path) -> None:
    draw(tmp_path / "pool", {"red": 2, "blue": 2, "green": 2})
    (tmp_path / "train").mkdir()
    for name, target in {"all": "pool", "red": "pool/red", "rouge": "pool/red"}.items():
        (tmp_path / "train" / name).symlink_to(tmp_path / target)
    made = listed(Data(root=".").train, tmp_path, "train")
    assert [(image.path, image.label) for image in made.found] == [
        *((f"train/all/{name}/00{n}.png", "all") for name in ("blue", "green") for n in (0, 1)),
        *((f"train/red/00{n}.png", "red") for n in (0, 1)),
    ]
    assert [(p.path, p.reason) for p in made.misplaced] == [
        ("train/rouge", "a class folder without an image that can be read: 2 .png")
    ]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ((), "it is empty"),
        (("a.heic", "b.HEIC", "c.xyz"), "2 .heic, 1 .xyz"),
        (("deeper/a.doc",), "1 .doc"),
    ],
)
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_class_folder_without_images_is_named(
    tmp_path: Path, files: tuple[str, ...], told: str, part: str
) -> None:
    data = world(tmp_path, train=3)
    (tmp_path / part / "violet").mkdir()
    for name in files:
        (tmp_path / part / "violet" / name).parent.mkdir(exist_ok=True)
        (tmp_path / part / "violet" / name).write_bytes(b"")
    (problem,) = prepare(data, tmp_path).problems
    assert problem.path == f"{part}/violet"
    assert problem.reason == f"a class folder without an image that can be read: {told}"


def test_a_class_that_test_or_a_held_out_folder_lacks_is_named(tmp_path: Path) -> None:
    data = world(tmp_path, heldout=HeldOut(folder="mine"))  # type: ignore[arg-type]
    draw(tmp_path / "mine", {"red": 2}, first=800)
    shutil.rmtree(tmp_path / "test/green")
    assert prepare(data, tmp_path).warnings == (
        "heldout has no image of 2 classes: blue, green",
        "test has no image of 1 classes: green",
    )
