"""Sources: the same images in any form are the same classes, labels and pixels."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soup.data.errors import DataError
from soup.data.folders import Found
from soup.data.reading import image
from soup.data.sources import by_number, listed, states
from soup.places import Source
from tests.data.layouts import (
    WNIDS,
    Picture,
    as_csv,
    as_folder,
    as_shards,
    as_tar,
    as_tar_of_tars,
    class_tars,
    devkit,
    encoded,
    listed_rows,
    packed,
    pictures,
    tar,
)


def classes_file(root: Path, names: tuple[str, ...] = WNIDS) -> str:
    (root / "names.txt").write_text("\n".join(names) + "\n")
    return "names.txt"


def folder(root: Path, images: list[Picture]) -> Source:
    as_folder(root / "f", images)
    return Source(path="f")


def plain_tar(root: Path, images: list[Picture]) -> Source:
    as_tar(root / "p.tar", images)
    return Source(path="p.tar")


def wrapped_tar(root: Path, images: list[Picture]) -> Source:
    as_tar(root / "w.tar", images, around="./some/folder/")
    return Source(path="w.tar")


def official(root: Path, images: list[Picture]) -> Source:
    as_tar_of_tars(root / "ILSVRC2012_img_train.tar", images)
    return Source(path="ILSVRC2012_img_train.tar")


def a_tar_a_class(root: Path, images: list[Picture]) -> Source:
    for name, data in class_tars(images):
        (root / "c").mkdir(exist_ok=True)
        (root / "c" / name).write_bytes(data)
    return Source(path="c")


def shards_of_text(root: Path, images: list[Picture]) -> Source:
    as_shards(root / "s", images)
    return Source(path="s")


def shards_of_numbers(root: Path, images: list[Picture]) -> Source:
    as_shards(root / "n", images, WNIDS)
    return Source(path="n/part-*.tar", classes=classes_file(root))


def csv_list(root: Path, images: list[Picture]) -> Source:
    as_folder(root / "lists" / "images", images)
    as_csv(root / "lists" / "l.csv", listed_rows(images, "images/"))
    return Source(path="lists/l.csv")


def numbered_text_list(root: Path, images: list[Picture]) -> Source:
    as_folder(root / "g", images)
    lines = [f"g/{path} {WNIDS.index(label)}" for path, label in listed_rows(images)]
    (root / "l.txt").write_text("\n".join(lines))
    return Source(path="l.txt", classes=classes_file(root))


def list_into_a_tar(root: Path, images: list[Picture]) -> Source:
    as_tar(root / "q.tar", images)
    as_csv(root / "q.csv", listed_rows(images, "q.tar::"), ("file_name", "Class Name"))
    return Source(path="q.csv", columns={"label": "Class Name"})


def parquet_list(root: Path, images: list[Picture]) -> Source:
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    import pandas as pd

    as_folder(root / "h", images)
    rows = listed_rows(images, "h/")
    pd.DataFrame(rows, columns=["image_path", "label"]).to_parquet(root / "l.parquet")
    return Source(path="l.parquet")


def flat_folder(root: Path, images: list[Picture]) -> Source:
    (root / "v").mkdir()
    for _, name, data in images:
        (root / "v" / name).write_bytes(data)
    as_csv(
        root / "labels.csv",
        [(name.split(".")[0], label) for label, name, _ in images],
        ("ImageId", "label"),
    )
    return Source(path="v", labels="labels.csv")


def flat_tar(root: Path, images: list[Picture]) -> Source:
    tar(root / "v.tar", [(name, data) for _, name, data in images])
    ids = {3: WNIDS[0], 1: WNIDS[1], 2: WNIDS[2]}  # not in the order of the sorted synsets
    number = {wnid: i for i, wnid in ids.items()}
    ordered = sorted(images, key=lambda each: each[1])
    devkit(root / "kit", [number[label] for label, _, _ in ordered], ids)
    return Source(path="v.tar", labels="kit")


FORMS: list[Callable[[Path, list[Picture]], Source]] = [
    folder,
    plain_tar,
    wrapped_tar,
    official,
    a_tar_a_class,
    shards_of_text,
    shards_of_numbers,
    csv_list,
    numbered_text_list,
    list_into_a_tar,
    parquet_list,
    flat_folder,
    flat_tar,
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@settings(max_examples=5)
@given(counts=st.lists(st.integers(1, 4), min_size=3, max_size=3), first=st.integers(0, 9))
def test_every_form_of_the_same_images_gives_the_same_labels_and_pixels(
    tmp_path_factory: pytest.TempPathFactory,
    form: Callable[[Path, list[Picture]], Source],
    counts: list[int],
    first: int,
) -> None:
    root = tmp_path_factory.mktemp("form")
    images = pictures(dict(zip(WNIDS, counts, strict=True)), first)
    made = listed(form(root, images), root, "train")
    assert not made.misplaced
    assert not made.numbered
    got = sorted((f.label, image(root / f.path).tobytes()) for f in made.found)
    wanted = sorted((label, pixels(data)) for label, _, data in images)
    assert got == wanted
    assert [f.path for f in made.found] == sorted(f.path for f in made.found)


def pixels(data: bytes) -> bytes:
    import io

    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data))).tobytes()


@pytest.mark.parametrize("form", [plain_tar, wrapped_tar, official, a_tar_a_class])
def test_an_image_has_the_same_place_inside_its_source_as_in_folders(
    tmp_path: Path, form: Callable[[Path, list[Picture]], Source]
) -> None:
    """So that a hash of it holds out the same images, unpacked or not."""
    images = pictures(dict.fromkeys(WNIDS, 2))
    made = listed(form(tmp_path, images), tmp_path, "train")
    assert {made.inside(f.path) for f in made.found} == {path for path, _ in listed_rows(images)}


def test_members_have_paths_that_name_archive_and_member(tmp_path: Path) -> None:
    images = pictures({WNIDS[0]: 1})
    made = listed(official(tmp_path, images), tmp_path, "train")
    assert made.found == [
        Found("ILSVRC2012_img_train.tar::n01440764/n01440764_0.JPEG", "n01440764")
    ]


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
    assert message.endswith("names an image twice:\n  lines 2 and 3: a/a_0.JPEG")


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


def touched(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


@pytest.mark.parametrize(
    ("form", "file"),
    [
        (folder, "f/n01440764/n01440764_0.JPEG"),
        (official, "ILSVRC2012_img_train.tar"),
        (a_tar_a_class, "c/n01443537.tar"),
        (shards_of_numbers, "n/part-000001.tar"),
        (shards_of_numbers, "names.txt"),
        (csv_list, "lists/l.csv"),
        (csv_list, "lists/images/n01484850/n01484850_1.JPEG"),
        (list_into_a_tar, "q.tar"),
        (flat_folder, "labels.csv"),
        (flat_folder, "v/n01484850_0.JPEG"),
        (flat_tar, "kit/data/meta.mat"),
    ],
)
def test_what_a_source_depends_on_is_seen_to_change(
    tmp_path: Path, form: Callable[[Path, list[Picture]], Source], file: str
) -> None:
    source = form(tmp_path, pictures(dict.fromkeys(WNIDS, 2)))

    def state() -> list:
        return states(listed(source, tmp_path, "train"), tmp_path)

    before = state()
    (tmp_path / "bystander.txt").touch()
    assert state() == before
    touched(tmp_path / file)
    assert state() != before


def test_an_archive_counts_as_one_file(tmp_path: Path) -> None:
    made = listed(official(tmp_path, pictures(dict.fromkeys(WNIDS, 2))), tmp_path, "train")
    assert {path for path, _, _ in states(made, tmp_path)} == {"ILSVRC2012_img_train.tar"}


def test_an_archive_that_climbs_out_is_no_source(tmp_path: Path) -> None:
    tar(tmp_path / "t.tar", [("n1.tar", packed([("../../evil.png", encoded(1))]))])
    assert "n1/../../evil.png: a path that climbs out" in refused(Source(path="t.tar"), tmp_path)
    assert not (tmp_path.parent / "evil.png").exists()
