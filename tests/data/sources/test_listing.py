"""Sources: the same images in any form are the same classes, labels and pixels."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soup.config.data import Source
from soup.data.reading.image_file import image
from soup.data.sources.folders import Found
from soup.data.sources.listing import listed, states
from tests.data.shifts.layouts import (
    WNIDS,
    Picture,
    as_csv,
    as_folder,
    as_shards,
    as_tar,
    as_tar_of_tars,
    class_tars,
    classes_file,
    devkit,
    listed_rows,
    pictures,
    tar,
)


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
