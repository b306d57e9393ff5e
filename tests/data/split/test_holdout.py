"""Held-out: by a published index or as a set of its own; the hash is tested with the split."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soup.config.data import HeldOut
from soup.data.errors import DataError
from soup.data.sources.folders import Found
from soup.data.split import holdout
from soup.data.split.holdout import apart, by_index
from soup.data.split.manifest import Row

# As torchvision's ImageFolder lists them: by class, then by name. Sorted by path it would be
# otherwise: a blank comes before a slash.
ORDER = ["a/1", "a/2", "a/3", "a b/1", "a b/2", "a b/3"]
FOUND = [Found(f"train/{name}", name.split("/")[0]) for name in sorted(ORDER)]


def rows(found: list[Found] = FOUND) -> list[Row]:
    return [Row(f.path, f.label, "train", f"digest of {f.path}") for f in found]


def inside(path: str) -> str:
    return path.removeprefix("train/")


def held(split: list[Row]) -> list[str]:
    return [inside(row.path) for row in split if row.split == "heldout"]


def write_numbers(values: list[int]) -> Callable[[Path], str]:
    def write(root: Path) -> str:
        np.save(root / "i.npy", np.array(values))
        return "i.npy"

    return write


def write_mask_as_published(root: Path) -> str:
    np.save(root / "i.npy", np.array([0, 1, 0, 0, 0, 1.0]))
    return "i.npy"


def write_lines(*lines: str) -> Callable[[Path], str]:
    def write(root: Path) -> str:
        (root / "i.txt").write_text("\n".join(lines) + "\n")
        return "i.txt"

    return write


@pytest.mark.parametrize(
    "write",
    [
        write_numbers([1, 5]),
        write_numbers([0, 1, 0, 0, 0, 1]),
        write_mask_as_published,
        write_lines("5", "1"),
        write_lines("0", "1", "0", "0", "0", "1"),
        write_lines("a/2", "a b/3"),
        write_lines("train/a b/3", "a/2"),
    ],
)
def test_every_form_of_an_index_holds_out_the_same(
    tmp_path: Path, write: Callable[[Path], str]
) -> None:
    how = HeldOut(index=write(tmp_path), per_class=1)
    split = by_index(rows(), FOUND, how, tmp_path, inside)
    assert held(split) == ["a b/3", "a/2"]
    assert [r.path for r in split] == sorted(f.path for f in FOUND)
    assert {r.split for r in split} == {"train", "heldout"}


def test_positions_count_all_images_also_those_that_cannot_be_used(tmp_path: Path) -> None:
    usable = [row for row in rows() if row.path != "train/a/1"]
    how = HeldOut(index=write_numbers([1, 5])(tmp_path))
    assert held(by_index(usable, FOUND, how, tmp_path, inside)) == ["a b/3", "a/2"]


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_numbers([0, 1, 0, 0, 1]), "a mask of 5 positions, train has 6 images; a file is"),
        (write_numbers([1, 6, 7, 1]), "beyond train's 6 images: 6, 7\n  more than once: train/a/2"),
        (write_numbers([1, 2]), "should hold out 1 of each class, and does not of a (2), a b (0);"),
        (write_lines("a/2", "c/9", "a/9"), "not in train: c/9, a/9"),
        (write_lines("a/2", "a/2"), "more than once: train/a/2"),
        (write_lines(""), "is empty"),
        (write_numbers([-1]), "is no index"),
        (write_lines("a/1", "a/2", "a/3", "a b/1", "a b/2", "a b/3"), "1 of each class"),
    ],
)
def test_an_index_that_does_not_match_the_images_says_how(
    tmp_path: Path, write: Callable[[Path], str], message: str
) -> None:
    how = HeldOut(index=write(tmp_path), per_class=1)
    with pytest.raises(DataError) as caught:
        by_index(rows(), FOUND, how, tmp_path, inside)
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"junk", None])
def test_a_file_that_is_no_index_is_refused_and_no_pickle_is_loaded(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is None:
        np.save(tmp_path / "i.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    else:
        (tmp_path / "i.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"i\.npy cannot be read as an index"):
        by_index(rows(), FOUND, HeldOut(index="i.npy"), tmp_path, inside)
    with pytest.raises(DataError, match=r"no\.npy cannot be read as an index"):
        by_index(rows(), FOUND, HeldOut(index="no.npy"), tmp_path, inside)


def test_an_index_that_leaves_a_class_without_training_images_is_refused(tmp_path: Path) -> None:
    how = HeldOut(index=write_numbers([0, 1, 2, 3])(tmp_path))
    with pytest.raises(DataError, match=r"i\.npy leaves no image to train on of a$"):
        by_index(rows(), FOUND, how, tmp_path, inside)


def test_the_published_index_is_checked_by_the_name_that_its_authors_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = HeldOut(index=write_numbers([0, 1, 0, 0, 0, 1])(tmp_path))
    monkeypatch.setattr(holdout, "PUBLISHED", (6, 1, "b/3"))
    assert held(by_index(rows(), FOUND, how, tmp_path, inside)) == ["a b/3", "a/2"]
    monkeypatch.setattr(holdout, "PUBLISHED", (6, 1, "b/2"))
    with pytest.raises(DataError, match="held-out image 1 is train/a b/3, and was b/2 where"):
        by_index(rows(), FOUND, how, tmp_path, inside)


def test_the_figures_of_the_published_index_agree_with_one_another() -> None:
    """26 of each of 1,000 classes: place 1,000 is in class 38, n01675722 among the sorted ones."""
    timm_data = pytest.importorskip("timm.data")
    synsets = timm_data.ImageNetInfo().label_names()
    assert holdout.PUBLISHED[2].startswith(synsets[holdout.PUBLISHED[1] // 26])


def shown(*groups: list[Row]) -> dict[str, str]:
    """Path -> picture, where the contents say it."""
    return {row.path: row.content for group in groups for row in group}


def own(*names: str, **changes: Any) -> list[Row]:
    made = [Row(f"mine/{n}", n.split("/")[0], "heldout", f"own {n}") for n in names]
    return [Row(**{**vars(row), **changes}) for row in made]


def after(path: str) -> str:
    return path.removeprefix("mine/")


def test_held_out_images_of_their_own_leave_train_whole() -> None:
    split, taken, _ = apart(rows(), own("a/9"), inside, after, shown(rows(), own("a/9")))
    assert taken == 0
    assert [r.path for r in split] == sorted([*(f.path for f in FOUND), "mine/a/9"])
    assert held(split) == ["mine/a/9"]


@pytest.mark.parametrize(
    "same",
    [own("a/77", content="digest of train/a/2"), own("a/2", path="train/a/2")],
    ids=["by content", "by path"],
)
def test_what_train_holds_too_is_taken_from_it(same: list[Row]) -> None:
    split, taken, alike = apart(rows(), same, inside, after, shown(rows(), same))
    assert (taken, alike) == (1, 0)
    assert [r.path for r in split if r.split == "heldout"] == [same[0].path]
    assert sum(r.split == "train" for r in split) == 5
    assert "train/a/2" not in [r.path for r in split if r.split == "train"]


def test_another_picture_of_the_same_name_leaves_train_whole() -> None:
    """As where the images of each split are numbered from 1."""
    same = own("a/1", "a/2", "a b/1")
    split, *counts = apart(rows(), same, inside, after, shown(rows(), same))
    assert counts == [0, 3]
    assert sum(row.split == "train" for row in split) == len(rows())


def test_two_images_of_one_size_are_not_the_same_image() -> None:
    train = [Row(r.path, r.label, "train", "99-bytes") for r in rows()]
    held = own("a/9", content="99-bytes")
    pictures = {row.path: row.path for row in (*train, *held)}
    assert apart(train, held, inside, after, pictures)[1] == 0


def test_a_held_out_folder_with_all_of_a_class_leaves_nothing_to_train_on() -> None:
    held = [replace(r, path=f"mine/{r.path}") for r in rows() if r.label == "a"]
    with pytest.raises(DataError, match=r"data\.heldout\.folder leaves no image to train on of a$"):
        apart(rows(), held, inside, after, shown(rows(), held))
