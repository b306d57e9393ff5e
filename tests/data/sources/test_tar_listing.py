"""Images in archives: which class each is of, and what stands around the class folders."""

from pathlib import Path

import pytest

from soup import limits
from soup.config.data import Source
from soup.data.errors import DataError
from soup.data.sources.folders import Found, Problem
from soup.data.sources.listing import listed
from soup.data.sources.tar_listing import by_folder, by_sample, pictures
from tests.data.shifts.layouts import tar


def test_only_images_count_and_hidden_ones_do_not(tmp_path: Path) -> None:
    names = ["b.PNG", "a/x.jpeg", "a/notes.txt", "a/._x.jpeg", ".git/y.png", "z"]
    assert pictures(tar(tmp_path / "t.tar", [(n, b"") for n in names])) == ["a/x.jpeg", "b.PNG"]


def test_folders_around_all_class_folders_count_for_nothing(tmp_path: Path) -> None:
    archive = tar(tmp_path / "t.tar", [("in/r/a/1.png", b""), ("in/r/b/c/2.png", b"")])
    found, misplaced, around, _ = by_folder([archive], tmp_path)
    assert [(f.path, f.label) for f in found] == [
        ("t.tar::in/r/a/1.png", "a"),
        ("t.tar::in/r/b/c/2.png", "b"),
    ]
    assert (misplaced, around) == ([], {"t.tar": "in/r/"})


def test_the_only_class_folder_is_one(tmp_path: Path) -> None:
    archive = tar(tmp_path / "t.tar", [("a/1.png", b""), ("a/2.png", b"")])
    assert [f.label for f in by_folder([archive], tmp_path)[0]] == ["a", "a"]


def test_an_image_beside_class_folders_is_misplaced(tmp_path: Path) -> None:
    archive = tar(tmp_path / "t.tar", [("a/1.png", b""), ("2.png", b"")])
    found, misplaced, _, _ = by_folder([archive], tmp_path)
    assert found == [Found("t.tar::a/1.png", "a")]
    assert misplaced == [Problem("t.tar::2.png", "misplaced: not inside a class folder")]


def test_of_several_archives_the_name_is_the_class_of_loose_images(tmp_path: Path) -> None:
    tars = [tar(tmp_path / f"{n}.tar", [("1.png", b"")]) for n in ("n2", "n1")]
    tars.append(tar(tmp_path / "more.tar", [("n1/2.png", b"")]))
    found, misplaced, _, _ = by_folder(tars, tmp_path)
    assert [(f.path, f.label) for f in found] == [
        ("n2.tar::1.png", "n2"),
        ("n1.tar::1.png", "n1"),
        ("more.tar::n1/2.png", "n1"),
    ]
    assert misplaced == []


def test_archives_with_one_folder_name_inside_are_classes(tmp_path: Path) -> None:
    for name in ("n1", "n2"):
        tar(tmp_path / "deep" / f"{name}.tar", [(f"{name}/images/{i}.png", b"") for i in "12"])
        tar(tmp_path / "flat" / f"{name}.tar", [(f"images/{i}.png", b"") for i in "12"])
    for folder in ("deep", "flat"):
        listing = listed(Source(path=folder), tmp_path, "train")
        assert [image.label for image in listing.found] == ["n1", "n1", "n2", "n2"]
        assert [listing.inside(image.path) for image in listing.found] == [
            f"{name}/images/{i}.png" for name in ("n1", "n2") for i in "12"
        ]


def test_parts_of_an_archive_of_one_class_are_no_classes(tmp_path: Path) -> None:
    """Where another archive, or the folder inside, names the class."""
    tars = [tar(tmp_path / f"{n}.tar", [("n1/1.png", b"")]) for n in ("n1", "more")]
    assert {image.label for image in by_folder(tars, tmp_path)[0]} == {"n1"}
    tars = [tar(tmp_path / f"{n}.tar", [("cat/1.png", b"")]) for n in "12"]
    tars.append(tar(tmp_path / "3.tar", [("dog/1.png", b"")]))
    assert {image.label for image in by_folder(tars, tmp_path)[0]} == {"cat", "dog"}


def test_a_sample_is_what_shares_a_name_up_to_its_first_dot(tmp_path: Path) -> None:
    members = [("a/1.left.png", b""), ("a/1.right.png", b""), ("a/1.cls", b" 4 "), ("b/1.png", b"")]
    archive = tar(tmp_path / "t.tar", members)
    found, unlabelled = by_sample([archive], tmp_path)
    assert [(f.path, f.label) for f in found] == [
        ("t.tar::a/1.left.png", "4"),
        ("t.tar::a/1.right.png", "4"),
    ]
    assert [p.path for p in unlabelled] == ["t.tar::b/1.png"]


def test_a_text_file_about_the_whole_archive_labels_nothing(tmp_path: Path) -> None:
    tar(tmp_path / "t.tar", [("README.txt", b"hello"), ("a/1.png", b"")])
    assert by_sample([tmp_path / "t.tar"], tmp_path)[0] == []


def test_a_label_beside_an_image_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tar(tmp_path / "t.tar", [("1.png", b""), ("1.cls", b"a long label")])
    assert [f.label for f in by_sample([archive], tmp_path)[0]] == ["a long label"]
    monkeypatch.setattr(limits, "LABEL_BYTES", 11)
    with pytest.raises(DataError, match=r"t.tar: the label 1.cls has 12 bytes; .*LABEL_BYTES in"):
        by_sample([archive], tmp_path)
