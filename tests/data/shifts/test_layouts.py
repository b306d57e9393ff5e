"""Layouts that are the user's own, and what is said of those that are none."""

from pathlib import Path
from typing import get_args

import pytest

from soup.config.data import Shift
from soup.data.shifts.layouts import LAYOUTS
from tests import imagenets
from tests.imagenets import asked, problem


def test_every_layout_of_the_parameters_is_known_and_no_other() -> None:
    assert {"auto", *LAYOUTS} == set(get_args(Shift.model_fields["layout"].annotation))


def test_class_folders_named_as_trains_are_scored_in_the_plain_way(tmp_path: Path) -> None:
    imagenets.fill(tmp_path / "shift", {"cat": ["a.jpg"], "dog": ["b.jpg"]})
    made = asked(tmp_path, ["ant", "cat", "dog"])
    assert made.protocols["shift"].answers == {}
    assert made.notes == ()
    assert [i.label for i in made.images["shift"]] == ["cat", "dog"]


def test_a_name_that_train_lacks_gets_the_nearest(tmp_path: Path) -> None:
    imagenets.fill(tmp_path / "shift", {"cats": ["a.jpg"], "dog": ["b.jpg"]})
    told = problem(tmp_path, ["cat", "dog"])
    assert told == "shift shift: classes that train does not have: cats (near: cat)"


MAPS = {
    "map.yaml": "tabby: cat\nsiamese: cat\nswarm: [bee, ant]\nrock: null\n",
    "map.json": '{"tabby": "cat", "siamese": ["cat"], "swarm": ["ant", "bee"], "rock": []}',
    "map.csv": "folder,class\ntabby,cat\nsiamese,cat\nswarm,ant\nswarm,bee\nrock,\n",
}


@pytest.mark.parametrize("name", MAPS)
def test_folders_of_ones_own_are_explained_by_a_class_map(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(MAPS[name])
    folders = {f: [f"{f}.jpg"] for f in ("tabby", "siamese", "swarm", "rock")}
    imagenets.fill(tmp_path / "shift", folders)
    made = asked(tmp_path, ["ant", "bee", "cat", "dog"], classes=name)
    assert made.problems == ()
    assert made.protocols["shift"].answers == {"cat": ("cat",), "ant|bee": ("ant", "bee")}
    labels = {Path(i.path).stem: i.label for i in made.images["shift"]}
    assert labels == {"tabby": "cat", "siamese": "cat", "swarm": "ant|bee"}
    assert made.notes == (
        "shift shift: layout map, 2 answers; 1 of 4 images are of other classes, left out",
    )


def test_a_class_map_may_use_other_names_of_imagenets_classes(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text("puss: tabby cat\nfish: n01443537\n")
    imagenets.fill(tmp_path / "shift", {"puss": ["a.jpg"], "fish": ["b.jpg"]})
    made = asked(tmp_path, ["n01443537", "n02123045"], classes="map.yaml", layout="map")
    assert made.problems == ()
    assert [i.label for i in made.images["shift"]] == ["n01443537", "n02123045"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: cat\nb: dgo\n", "/map.yaml names classes that train does not have: dgo (near: dog)"),
        ("a: cat\n", "has others: b;"),
        ("a: cat\nb: dog\nc: dog\n", "but lacks 1: c;"),
        ("a: [cat, dog]\nb: dog\n", "classes that stand in several different answers: dog"),
        ("a: null\nb: null\n", "train has none of the classes of /shift (layout map)"),
    ],
)
def test_what_is_wrong_with_a_class_map_is_said(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "map.yaml").write_text(text)
    imagenets.fill(tmp_path / "shift", {"a": ["a.jpg"], "b": ["b.jpg"]})
    assert told in problem(tmp_path, ["cat", "dog"], classes="map.yaml")


def test_classes_that_look_like_several_are_refused(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text("a: cat|dog\n")
    imagenets.fill(tmp_path / "shift", {"a": ["a.jpg"]})
    told = problem(tmp_path, ["cat|dog", "x"], classes="map.yaml")
    assert told == "shift shift: classes with '|' in their name: cat|dog; rename them"
