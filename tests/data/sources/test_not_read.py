"""What is not read as an image is named, and counted, in every kind of source."""

from pathlib import Path

import pytest

from soup.config.data import Source
from soup.data.errors import DataError
from soup.data.sources.folders import Problem, scan
from soup.data.sources.listing import listed
from soup.data.split.prepare import prepare
from tests.data.shifts.layouts import encoded, tar
from tests.worlds import draw, world

HEIC = ".heic is not read; convert it to .png or .jpg"


def lines(problems: list[Problem]) -> list[tuple[str, str, bool]]:
    return [(p.path, p.reason, p.image) for p in problems]


def test_in_a_folder_each_picture_is_named_and_other_files_by_their_suffix(tmp_path: Path) -> None:
    draw(tmp_path / "train", {"red": 2})
    for name in ("red/b.HEIC", "red/a.dng", "red/1.txt", "red/2.TXT", "readme", "red/.hidden.heic"):
        (tmp_path / "train" / name).touch()
    found, left_out = scan(tmp_path, "train")
    assert len(found) == 2
    assert lines(left_out) == [
        ("train/red/a.dng", ".dng is not read; convert it to .png or .jpg", True),
        ("train/red/b.HEIC", HEIC, True),
        ("train/readme", "no image", False),
        ("train/red/1.txt", "no image, as are all 2 .txt", False),
    ]


def test_a_folder_of_unread_files_alone_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "train/red").mkdir(parents=True)
    for name in ("a.heic", "b.heic", "c.md", "d"):
        (tmp_path / "train/red" / name).touch()
    with pytest.raises(DataError, match=r"no images in .*; it holds 2 \.heic, 1 \.md, 1 without a"):
        scan(tmp_path, "train")


def test_in_an_archive_too_but_labels_beside_the_images_are_no_matter(tmp_path: Path) -> None:
    members = [("c/1.png", encoded(1)), ("c/2.heic", b""), ("c/notes.md", b"")]
    tar(tmp_path / "x.tar", members)
    made = listed(Source(path="x.tar"), tmp_path, "train")
    assert lines(made.misplaced) == [
        ("x.tar::c/2.heic", HEIC, True),
        ("x.tar::c/notes.md", "no image", False),
    ]
    tar(tmp_path / "y.tar", [("1.png", encoded(1)), ("1.cls", b"0"), ("1.json", b"")])
    made = listed(Source(path="y.tar"), tmp_path, "train")
    assert lines(made.misplaced) == [("y.tar::1.json", "no image", False)]
    tar(tmp_path / "z.tar", [("c/1.heic", b"")])
    with pytest.raises(DataError, match=r"no images of a class in .*; it holds 1 \.heic"):
        listed(Source(path="z.tar"), tmp_path, "train")


def test_beside_images_with_a_list_of_labels_too(tmp_path: Path) -> None:
    draw(tmp_path / "flat", {"": 2})
    (tmp_path / "flat/x.heic").touch()
    (tmp_path / "labels.txt").write_text("0\n1\n")
    made = listed(Source(path="flat", labels="labels.txt"), tmp_path, "train")
    assert lines(made.misplaced) == [("flat/x.heic", HEIC, True)]


def test_strict_stops_for_pictures_and_not_for_other_files(tmp_path: Path) -> None:
    data = world(tmp_path, strict=True)
    (tmp_path / "train/red/notes.txt").touch()
    assert len(prepare(data, tmp_path).problems) == 1
    (tmp_path / "train/red/a.heic").touch()
    with pytest.raises(DataError, match=r"^1 images cannot be used .*\n  train/red/a\.heic: "):
        prepare(data, tmp_path)


def test_of_a_shift_pictures_alone_are_named(tmp_path: Path) -> None:
    draw(tmp_path / "shifted", {"red": 2})
    (tmp_path / "shifted/mappings.json").touch()
    (tmp_path / "shifted/red/a.heic").touch()
    made = listed(Source(path="shifted"), tmp_path, "colours")
    assert lines(made.misplaced) == [("shifted/red/a.heic", HEIC, True)]
