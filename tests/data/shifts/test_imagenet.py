"""ImageNet's classes: the tables against timm's and the published ones, and train's names."""

import json
import pkgutil

import pytest

from soup.data.shifts.imagenet import IMAGENET_A, IMAGENET_R, position, recognised, wnids
from soup.data.sources.folders import DataError
from tests.imagenets import classmaps


@pytest.mark.parametrize(("held", "letter"), [(IMAGENET_A, "a"), (IMAGENET_R, "r")])
def test_the_200_classes_are_those_of_timms_table(held: tuple[int, ...], letter: str) -> None:
    raw = pkgutil.get_data("timm.data", f"_info/imagenet_{letter}_synsets.txt")
    assert raw is not None
    assert [wnids()[at] for at in held] == sorted(raw.decode().split())


@pytest.mark.parametrize(("held", "letter"), [(IMAGENET_A, "a"), (IMAGENET_R, "r")])
def test_the_200_classes_are_those_of_the_published_evaluation(
    held: tuple[int, ...], letter: str
) -> None:
    table = json.loads((classmaps() / f"imagenet_{letter}_class_indices.json").read_text())
    assert list(held) == sorted(table)


def test_positions_are_places_among_the_sorted_wnids() -> None:
    assert len(set(wnids())) == 1000
    assert list(wnids()) == sorted(wnids())
    assert (wnids()[0], wnids()[999]) == ("n01440764", "n15075141")
    assert [position(name) for name in wnids()] == list(range(1000))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tench", 0),
        ("Tinca tinca", 0),
        ("tench, Tinca tinca", 0),
        ("great_white_shark", 2),
        ("Toilet Paper", 999),
        ("toilet tissue", 999),
        ("crane bird", 134),  # OpenAI's prompt; its first lemma is that of two classes
        ("harp", 594),  # its own first name, and another name of the harmonica
        ("crane", None),
        ("panther", None),
        ("n00000000", None),
        ("aeroplane", None),
        ("0", None),
    ],
)
def test_a_class_is_known_by_its_wnid_and_by_names_that_are_its_alone(
    name: str, expected: int | None
) -> None:
    assert position(name) == expected


def test_trains_classes_are_recognised_under_their_own_names() -> None:
    assert recognised(wnids()) == dict(enumerate(wnids()))
    assert recognised(["Tench", "n01443537", "toilet paper"]) == {
        0: "Tench",
        1: "n01443537",
        999: "toilet paper",
    }


def test_classes_that_are_not_imagenets_are_all_named() -> None:
    with pytest.raises(DataError) as caught:
        recognised(["n01440764", "tench", "crane", "n00000000", "tabby cats", "quux"])
    told = str(caught.value).split("these are not: ")[1]
    assert told == (
        "tench (the same class as n01440764), crane (may be n02012849 or n03126707), n00000000, "
        "tabby cats (near: tabby cat, tabby, lab coat), quux"
    )
