"""The split over every kind of source: the same images held out, the same errors told."""

import os
import shutil
from pathlib import Path

import pytest

from soup.config.data import Data, HeldOut, Shift, Source
from soup.data.errors import DataError
from soup.data.reading.image_file import image
from soup.data.split.prepare import Prepared, counts, listing, prepare
from tests.data.shifts.layouts import (
    WNIDS,
    as_csv,
    as_folder,
    as_shards,
    as_tar,
    as_tar_of_tars,
    devkit,
    listed_rows,
    pictures,
    tar,
)
from tests.worlds import draw

TRAIN = pictures(dict.fromkeys(WNIDS, 8))
TEST = pictures(dict.fromkeys(WNIDS, 2), first=50)
HELD = HeldOut(per_class=2)


def official(root: Path) -> Data:
    """ImageNet as it is downloaded: two archives and the development kit."""
    as_tar_of_tars(root / "ILSVRC2012_img_train.tar", TRAIN)
    flat = [(f"ILSVRC2012_val_{i:08d}.JPEG", data) for i, (_, _, data) in enumerate(TEST, 1)]
    tar(root / "ILSVRC2012_img_val.tar", flat[::-1])
    ids = {2: WNIDS[0], 3: WNIDS[1], 1: WNIDS[2]}
    number = {wnid: i for i, wnid in ids.items()}
    devkit(root / "kit", [number[label] for label, _, _ in TEST], ids)
    test = {"path": "ILSVRC2012_img_val.tar", "labels": "kit"}
    return Data(root=str(root), train="ILSVRC2012_img_train.tar", test=test, heldout=HELD)


def folders(root: Path) -> Data:
    as_folder(root / "train", TRAIN)
    as_folder(root / "test", TEST)
    return Data(root=str(root), heldout=HELD)


def seen(prepared: Prepared, root: Path) -> set[tuple[str, str, bytes, str]]:
    rows = (*prepared.development, *prepared.evaluation)
    return {(r.split, r.label, image(root / r.path, r.content).tobytes(), r.content) for r in rows}


def failure(data: Data, root: Path) -> str:
    with pytest.raises(DataError) as caught:
        prepare(data, root)
    return str(caught.value)


@pytest.mark.parametrize("check", ["decode", "header"])
def test_the_official_archives_are_split_as_the_unpacked_folders(
    tmp_path: Path, check: str
) -> None:
    made = []
    for form in (official, folders):
        root = tmp_path / form.__name__
        data = form(root).model_copy(update={"check": check})
        prepared = prepare(data, root)
        assert prepared.problems == ()
        made.append(seen(prepared, root))
    assert made[0] == made[1]
    assert len(made[0]) == 30


def test_what_is_trained_on_and_tested_on_may_be_of_different_kinds(tmp_path: Path) -> None:
    folders(tmp_path)
    as_tar(tmp_path / "sketch.tar", TEST, around="sketch/")
    as_shards(tmp_path / "shards", TEST, WNIDS)
    as_csv(tmp_path / "list.csv", [(p, str(WNIDS.index(c))) for p, c in listed_rows(TEST, "test/")])
    shifts = {n: Shift(folder=f) for n, f in {"s": "sketch.tar", "r": "shards"}.items()}
    data = Data(root=".", test="list.csv", heldout=HELD, shifts=shifts)
    prepared = prepare(data, tmp_path)
    by_split = {
        part: sorted(
            (r.label, image(tmp_path / r.path).tobytes())
            for r in prepared.evaluation
            if r.split == part
        )
        for part in ("test", "s", "r")
    }
    assert by_split["test"] == by_split["s"] == by_split["r"]
    assert len(by_split["test"]) == 6


def test_numbers_beyond_train_s_classes_are_an_error_for_each_set(tmp_path: Path) -> None:
    folders(tmp_path)
    rows = [(path, "3") for path, _ in listed_rows(TEST, "test/")]
    as_csv(tmp_path / "t.csv", rows)
    shifts = {"r": Shift(folder="t.csv")}
    assert failure(Data(root=".", test="t.csv", shifts=shifts), tmp_path).splitlines() == [
        "test: labels out of range: 3; train has 3 classes, 0 to 2",
        "r: labels out of range: 3; train has 3 classes, 0 to 2",
    ]


def test_a_class_called_otherwise_is_answered_with_the_nearest_names(tmp_path: Path) -> None:
    as_folder(tmp_path / "train", pictures({"golden retriever": 3, "tabby cat": 3}))
    as_folder(tmp_path / "test", pictures({"golden_retriever": 1, "Tabby Cat": 1, "zebra": 1}))
    assert failure(Data(root="."), tmp_path) == (
        "test has classes that train does not have: Tabby Cat (near: tabby cat), "
        "golden_retriever (near: golden retriever), zebra"
    )


def test_images_that_are_trained_on_prove_nothing(tmp_path: Path) -> None:
    folders(tmp_path)
    as_csv(tmp_path / "t.csv", [*listed_rows(TEST, "test/"), *listed_rows(TRAIN[3:5], "train/")])
    paths = ", ".join(sorted(path for path, _ in listed_rows(TRAIN[3:5], "train/")))
    data = Data(root=".", test="t.csv", heldout=HELD)
    assert failure(data, tmp_path) == f"test has 2 images of train: {paths}"


def test_problems_of_several_sources_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "train.tar").touch()
    as_csv(tmp_path / "test.csv", [("gone.png", "a")])
    held = HeldOut(folder="held")
    shifts = {"r": Shift(folder="r.xyz")}
    data = Data(root=".", train="train.tar", test="test.csv", heldout=held, shifts=shifts)
    message = failure(data, tmp_path)
    for part in ("train.tar is empty", "names 1 of 1 images", "held is not a folder", "r.xyz is n"):
        assert part in message


def test_held_out_by_an_index_of_the_archive_s_positions(tmp_path: Path) -> None:
    data = official(tmp_path)
    lines = [f"{WNIDS[0]}/{WNIDS[0]}_3.JPEG", f"{WNIDS[2]}/{WNIDS[2]}_5.JPEG"]
    (tmp_path / "held.txt").write_text("\n".join(lines))
    data = data.model_copy(update={"heldout": HeldOut(index="held.txt")})
    development = prepare(data, tmp_path).development
    held = [row.path for row in development if row.split == "heldout"]
    assert held == [f"ILSVRC2012_img_train.tar::{line}" for line in lines]
    assert len(development) == 24
    before = listing(data, tmp_path)
    os.utime(tmp_path / "held.txt", ns=(0, 0))
    assert listing(data, tmp_path) != before


def test_held_out_as_a_folder_of_copies_is_taken_from_train_and_said(tmp_path: Path) -> None:
    data = official(tmp_path)
    as_folder(tmp_path / "minival", TRAIN[::4])
    data = data.model_copy(update={"heldout": HeldOut(folder="minival")})
    prepared = prepare(data, tmp_path)
    assert prepared.notes == (
        "6 images of train stand in data.heldout.folder too, and do not train",
    )
    split = [row.split for row in prepared.development]
    assert (split.count("train"), split.count("heldout")) == (18, 6)
    assert {r.split for r in prepared.evaluation} == {"test"}


@pytest.mark.parametrize("check", ["decode", "header"])
def test_other_pictures_of_train_s_names_are_held_out_beside_it_and_said(
    tmp_path: Path, check: str
) -> None:
    data = Data(root=str(tmp_path), heldout=HeldOut(folder="val"), check=check)
    for number, folder in enumerate(("train", "val", "test")):
        draw(tmp_path / folder, {"red": 5, "blue": 5}, first=100 * number)
    for name in ("red", "blue"):
        for number in range(5):
            image = tmp_path / "val" / name / f"{100 + number}.png"
            image.rename(image.with_name(f"{number:03d}.png"))
    shutil.copy(tmp_path / "train/red/000.png", tmp_path / "val/red/copy.png")
    prepared = prepare(data, tmp_path)
    assert counts(prepared) == {"train": 9, "heldout": 11, "test": 10}
    assert prepared.notes == (
        "1 images of train stand in data.heldout.folder too, and do not train",
        "9 images of train have class and name of another picture in data.heldout.folder, and "
        "train; where these are the same, resized or compressed again, take them out of train",
    )


def test_one_list_may_name_train_held_out_and_test(tmp_path: Path) -> None:
    as_folder(tmp_path, TRAIN)
    parts = ["train"] * 5 + ["val"] * 2 + ["test"]
    rows = [(*row, parts[i % 8]) for i, row in enumerate(listed_rows(TRAIN))]
    as_csv(tmp_path / "all.csv", rows, ("path", "label", "split"))
    held = HeldOut(folder=Source(path="all.csv", split="val"))
    prepared = prepare(Data(root=".", train="all.csv", test="all.csv", heldout=held), tmp_path)
    split = [row.split for row in prepared.development]
    assert (split.count("train"), split.count("heldout"), len(prepared.evaluation)) == (15, 6, 3)
    assert prepared.notes == ()


def test_the_listing_follows_an_archive_and_its_labels(tmp_path: Path) -> None:
    data = official(tmp_path)
    before = listing(data, tmp_path)
    assert listing(data, tmp_path) == before
    for name in ("ILSVRC2012_img_val.tar", "kit/data/ILSVRC2012_validation_ground_truth.txt"):
        os.utime(tmp_path / name, ns=(0, 0))
        after = listing(data, tmp_path)
        assert after != before
        before = after
    (tmp_path / "ILSVRC2012_img_train.tar").unlink()
    with pytest.raises(DataError, match=r"ILSVRC2012_img_train\.tar"):
        listing(data, tmp_path)


def test_a_truncated_member_is_left_out_and_named(tmp_path: Path) -> None:
    cut = [(label, name, data[: len(data) // 2]) for label, name, data in TRAIN[:1]]
    as_tar_of_tars(tmp_path / "train.tar", [*cut, *TRAIN[1:]])
    as_folder(tmp_path / "test", TEST)
    prepared = prepare(Data(root=".", train="train.tar", heldout=HELD), tmp_path)
    (problem,) = prepared.problems
    assert problem.path == f"train.tar::{WNIDS[0]}/{WNIDS[0]}_0.JPEG"
    assert "unreadable" in problem.reason
