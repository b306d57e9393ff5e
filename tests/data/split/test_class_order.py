"""Which row of a head is whose: numbers in numeric order, names as text, whatever the source."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from soup.config.data import Data, Shift, Source
from soup.data.split.manifest import Manifest, in_order, order_note
from soup.data.split.prepare import prepare
from tests.data.shifts.layouts import (
    Picture,
    as_csv,
    as_folder,
    as_shards,
    as_tar,
    class_tars,
    listed_rows,
    pictures,
)

NUMBERS = [str(number) for number in range(12)]
SAID = (
    "the classes are numbers, in the order 0, 1, 2, and 9 more; a head that was trained in another "
    "order, such as 0, 1, 10, and 9 more, needs a model.json that names its classes"
)


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        (["10", "9", "0", "9"], ("0", "9", "10")),
        (["010", "9", "00"], ("00", "9", "010")),
        (["1", "01", "2"], ("01", "1", "2")),
        (["10", "9", "other"], ("10", "9", "other")),
        (["10", "9", "-1"], ("-1", "10", "9")),
        (["10", "9.5"], ("10", "9.5")),
        (["c10", "c9"], ("c10", "c9")),
        (["10", "9", ""], ("", "10", "9")),
        ([], ()),
    ],
)
def test_classes_are_ordered_by_number_where_all_are_numbers(
    names: list[str], ordered: tuple[str, ...]
) -> None:
    assert in_order(iter(names)) == ordered


def test_the_order_is_told_only_where_text_would_be_ordered_otherwise() -> None:
    assert order_note(in_order(NUMBERS)) == SAID
    assert order_note(in_order(NUMBERS[:10])) == ""
    assert order_note(in_order(f"{number:02}" for number in range(12))) == ""
    assert order_note(in_order(["b", "a", "10"])) == ""


def folder(path: Path, images: list[Picture]) -> Source:
    return Source(path=as_folder(path, images).name)


def archive(path: Path, images: list[Picture]) -> Source:
    return Source(path=as_tar(path.with_suffix(".tar"), images).name)


def archives(path: Path, images: list[Picture]) -> Source:
    path.mkdir()
    for name, data in class_tars(images):
        (path / name).write_bytes(data)
    return Source(path=path.name)


def wrapped_archive(path: Path, images: list[Picture]) -> Source:
    return Source(path=as_tar(path.with_suffix(".tar"), images, around="some/folder/").name)


def shards(path: Path, images: list[Picture]) -> Source:
    return Source(path=as_shards(path, images).name)


def listed_in(path: Path, images: list[Picture]) -> Source:
    as_csv(as_folder(path, images) / "l.csv", listed_rows(images))
    return Source(path=f"{path.name}/l.csv")


FORMS = [folder, archive, archives, wrapped_archive, shards, listed_in]
Form = Callable[[Path, list[Picture]], Source]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("other", [folder, listed_in])
def test_numbers_are_in_numeric_order_in_every_form(
    tmp_path: Path, form: Form, other: Form
) -> None:
    train = form(tmp_path / "train", pictures(dict.fromkeys(NUMBERS, 2)))
    test = other(tmp_path / "test", pictures(dict.fromkeys(NUMBERS, 1), first=7))
    made = prepare(Data(root=".", train=train, test=test), tmp_path)
    assert [int(name) for name in made.development.classes] == [*range(12)]
    assert made.evaluation.classes == made.development.classes
    for row in (*made.development, *made.evaluation):
        written = Path(row.path.rpartition("::")[2]).name.partition("_")[0]
        assert made.development.classes.index(row.label) == int(written)
    assert made.warnings == ((SAID,) if "0" in made.development.classes else ())
    (tmp_path / "development.csv").write_text(made.development.to_csv())
    assert Manifest.load(tmp_path / "development.csv").classes == made.development.classes


@pytest.mark.parametrize("layout", ["index", "auto"])
def test_a_shift_by_position_is_of_the_same_order(tmp_path: Path, layout: str) -> None:
    names = [str(number) for number in range(3, 15)]
    as_folder(tmp_path / "train", pictures(dict.fromkeys(names, 2)))
    as_folder(tmp_path / "test", pictures(dict.fromkeys(names, 1), first=7))
    as_folder(tmp_path / "s", pictures({"4": 1, "11": 1}, first=9))
    shifts = {"s": Shift.model_validate({"folder": "s", "layout": layout})}
    made = prepare(Data(root=".", shifts=shifts), tmp_path)
    labels = {row.path.split("/")[1]: row.label for row in made.evaluation if row.split == "s"}
    plain = {"4": "4", "11": "11"}
    assert labels == (plain if layout == "auto" else {"4": names[4], "11": names[11]})


def test_one_more_class_that_is_no_number_puts_all_in_the_order_of_text(tmp_path: Path) -> None:
    names = [*NUMBERS, "none"]
    as_folder(tmp_path / "train", pictures(dict.fromkeys(names, 2)))
    as_folder(tmp_path / "test", pictures(dict.fromkeys(names, 1), first=7))
    made = prepare(Data(root="."), tmp_path)
    assert made.development.classes == tuple(sorted(names))
    assert made.warnings == ()
    shutil.rmtree(tmp_path / "train/none")
    shutil.rmtree(tmp_path / "test/none")
    assert prepare(Data(root="."), tmp_path).warnings == (SAID,)
