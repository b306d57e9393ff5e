"""Sources that are not as they should be, and what is said of them."""

from pathlib import Path

import pytest

from soup.config.data import Source
from soup.data.errors import DataError
from soup.data.sources.folders import Found
from soup.data.sources.listing import by_number, listed
from tests.data.shifts.layouts import (
    as_csv,
    as_folder,
    as_tar,
    classes_file,
    encoded,
    listed_rows,
    packed,
    pictures,
    tar,
)


def refused(source: Source, root: Path, part: str = "train") -> str:
    with pytest.raises(DataError) as caught:
        listed(source, root, part)
    return str(caught.value)


def test_a_file_of_no_known_kind_is_answered_with_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_bytes(b"12")
    message = refused(Source(path="x.h5"), tmp_path)
    assert f"{tmp_path / 'x.h5'} is none of what images are read from" in message
    assert ".csv, .tsv, .parquet, .txt" in message
    assert "no file is called" in refused(Source(path="x-*.tar"), tmp_path)
    (tmp_path / "x.tar").touch()
    assert "x.tar is empty" in refused(Source(path="x.tar"), tmp_path)


def test_archives_without_labelled_images_say_what_they_hold(tmp_path: Path) -> None:
    tar(tmp_path / "x.tar", [("a.png", encoded(1)), (".hidden/b.png", b""), ("c/notes.md", b"")])
    message = refused(Source(path="x.tar"), tmp_path)
    assert "no images of a class in" in message
    assert "only images in no class folder, such as x.tar::a.png" in message
    tar(tmp_path / "y.tar", [("c/notes.md", b"")])
    message = refused(Source(path="y.tar"), tmp_path)
    assert f"no images of a class in {tmp_path}/y.tar: expected <class>/<image>" in message


def test_a_sample_without_a_label_is_misplaced_and_hidden_images_are_none(tmp_path: Path) -> None:
    members = [("1.png", encoded(1)), ("1.cls", b"3\n"), ("2.png", encoded(2)), ("._1.png", b"")]
    tar(tmp_path / "x.tar", members)
    made = listed(Source(path="x.tar"), tmp_path, "train")
    assert made.found == [Found("x.tar::1.png", "00003")]
    assert made.numbered
    assert [(p.path, p.reason) for p in made.misplaced] == [
        ("x.tar::2.png", "misplaced: no label (.cls or .txt) beside it")
    ]


def test_a_caption_beside_a_class_number_is_no_label(tmp_path: Path) -> None:
    tar(tmp_path / "x.tar", [("1.txt", b"a dog"), ("1.cls", b"7"), ("1.png", encoded(1))])
    assert listed(Source(path="x.tar"), tmp_path, "train").found[0].label == "00007"


@pytest.mark.parametrize("label", ["3", "-1"])
def test_labels_out_of_range_are_named_with_their_images(tmp_path: Path, label: str) -> None:
    as_folder(tmp_path, pictures({"a": 2}))
    as_csv(tmp_path / "l.csv", [("a/a_0.JPEG", "0"), ("a/a_1.JPEG", label)])
    source = Source(path="l.csv", classes=classes_file(tmp_path))
    assert refused(source, tmp_path) == (
        f"l.csv: labels out of range, {tmp_path / 'names.txt'} names 3 classes, 0 to 2: "
        f"a/a_1.JPEG ({label})"
    )


def test_a_number_below_0_is_no_class(tmp_path: Path) -> None:
    as_folder(tmp_path, pictures({"a": 1}))
    as_csv(tmp_path / "l.csv", [("a/a_0.JPEG", "-1")])
    assert "labels out of range, below 0: a/a_0.JPEG (-1)" in refused(
        Source(path="l.csv"), tmp_path
    )


def test_a_file_of_class_names_that_repeats_one_is_refused(tmp_path: Path) -> None:
    as_folder(tmp_path, pictures({"a": 1}))
    as_csv(tmp_path / "l.csv", [("a/a_0.JPEG", "0")])
    source = Source(path="l.csv", classes=classes_file(tmp_path, ("x", "y", "x")))
    assert refused(source, tmp_path).endswith("names.txt: one class a line, each once: x")


def test_numbers_are_train_s_classes_of_that_number_or_at_that_position() -> None:
    found, errors = [Found("a", "00002"), Found("b", "00000")], list[str]()
    assert by_number(found, ["x", "y", "z"], "test", errors)[0] == Found("a", "z")
    assert by_number(found, ["0", "10", "2"], "test", errors) == [Found("a", "2"), Found("b", "0")]
    assert errors == []
    assert by_number(found, ["x", "y"], "test", errors) == [Found("b", "x")]
    assert errors == ["test: labels out of range: 2; train has 2 classes, 0 to 1"]


def test_a_list_that_names_missing_images_names_them_all(tmp_path: Path) -> None:
    images = pictures({"a": 2})
    as_folder(tmp_path / "sub", images)
    archive = as_tar(tmp_path / "sub" / "t.tar", images)
    rows = [*listed_rows(images), ("a/gone.png", "a"), (f"{archive.name}::a/gone.png", "a")]
    as_csv(tmp_path / "sub" / "l.csv", rows)
    assert refused(Source(path="sub/l.csv"), tmp_path).splitlines() == [
        f"{tmp_path}/sub/l.csv names 2 of 4 images that are not there, relative to {tmp_path}/sub:",
        "  line 4: a/gone.png",
        "  line 5: t.tar::a/gone.png",
    ]


def test_two_ways_to_write_one_path_are_still_twice_the_same_image(tmp_path: Path) -> None:
    as_folder(tmp_path, pictures({"a": 1}))
    as_csv(tmp_path / "l.csv", [("a/a_0.JPEG", "a"), ("./a/../a/a_0.JPEG", "a")])
    message = refused(Source(path="l.csv"), tmp_path)
    assert message.endswith("cannot be used:\n  lines 2 and 3: ./a/../a/a_0.JPEG twice")


def test_a_list_s_split_column_says_which_rows_are_whose(tmp_path: Path) -> None:
    as_folder(tmp_path, pictures({"a": 3}))
    parts = ("train", "test", "val")
    rows = [(f"a/a_{i}.JPEG", "a", part) for i, part in enumerate(parts)]
    as_csv(tmp_path / "l.csv", rows, ("path", "label", "split"))
    for part, place in (("train", 0), ("test", 1)):
        (found,) = listed(Source(path="l.csv"), tmp_path, part).found
        assert found.path == f"a/a_{place}.JPEG"
    (found,) = listed(Source(path="l.csv", split="val"), tmp_path, "heldout").found
    assert found.path == "a/a_2.JPEG"
    assert "no row whose split is 'heldout': it has test, train, val; name one as 'split'" in (
        refused(Source(path="l.csv"), tmp_path, "heldout")
    )


def test_an_archive_that_climbs_out_is_no_source(tmp_path: Path) -> None:
    tar(tmp_path / "t.tar", [("n1.tar", packed([("../../evil.png", encoded(1))]))])
    assert "n1/../../evil.png: a path that climbs out" in refused(Source(path="t.tar"), tmp_path)
    assert not (tmp_path.parent / "evil.png").exists()
