"""ObjectNet's mapping files: the published ones where they are, and what broken ones are told."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from soup.data.shifts.imagenet import wnids
from soup.data.shifts.objectnet import FILES, mappings, positions
from soup.data.sources.folders import DataError
from tests import imagenets


def test_folders_stand_for_the_classes_that_the_files_say(tmp_path: Path) -> None:
    folder = imagenets.objectnet(tmp_path)
    held = {name: at for name, (_, at) in imagenets.OBJECTS.items() if at}
    assert positions(folder) == held


def test_the_list_may_have_a_suffix(tmp_path: Path) -> None:
    before = positions(imagenets.objectnet(tmp_path))
    path = tmp_path / "mappings" / "imagenet_to_label_2012_v2"
    path.rename(path.with_suffix(".txt"))
    assert positions(tmp_path) == before


def test_the_published_files_cover_113_classes_by_125_of_imagenets(tmp_path: Path) -> None:
    shutil.copytree(imagenets.classmaps(), tmp_path / "mappings")
    found = positions(tmp_path)
    assert len(found) == 113
    every = [at for each in found.values() for at in each]
    assert len(every) == len(set(every)) == 125
    assert found["alarm_clock"] == (409, 530)
    assert found["chair"] == (423, 559, 765)
    labels = json.loads((tmp_path / "mappings" / "folder_to_objectnet_label.json").read_text())
    assert len(labels.keys() - found.keys()) == 200
    # A second way to the same: the names by timm's lemmas, where those are one class's alone.
    meaning = json.loads((tmp_path / "mappings" / "objectnet_to_imagenet_1k.json").read_text())
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    for folder, each in found.items():
        described = {info.label_name_to_description(wnids()[at]) for at in each}
        assert described == set(meaning[labels[folder]].split("; "))


def test_files_that_are_missing_are_all_named(tmp_path: Path) -> None:
    assert mappings(tmp_path) == {}
    imagenets.objectnet(tmp_path)
    (tmp_path / "mappings" / "pytorch_to_imagenet_2012_id.json").unlink()
    (tmp_path / "mappings" / "imagenet_to_label_2012_v2").unlink()
    with pytest.raises(DataError) as caught:
        positions(tmp_path)
    assert str(caught.value) == (
        "ObjectNet's mapping files are incomplete: no pytorch_to_imagenet_2012_id.json, "
        "imagenet_to_label_2012_v2 or imagenet_to_label_2012_v2.txt in the folder 'mappings' of "
        f"{tmp_path}; put them there as downloaded"
    )


def test_other_folders_beside_the_mappings_are_not_objectnets(tmp_path: Path) -> None:
    imagenets.objectnet(tmp_path)
    assert set(mappings(tmp_path)) == set(mappings(tmp_path / "images")) == set(FILES)
    assert mappings(tmp_path / "imagenet-r") == {}


def _another_name(table: dict) -> None:
    table["Backpack"] = "rucksack; thing 414, synonym of 414"


def _no_folder(table: dict) -> None:
    table["Anvil"] = "thing 4, synonym of 4"


def _far(table: dict) -> None:
    table["5000"] = table.pop("414")


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("objectnet_to_imagenet_1k", _another_name, "Backpack stands for 'rucksack', which has no"),
        ("objectnet_to_imagenet_1k", _no_folder, "Anvil has no folder"),
        ("pytorch_to_imagenet_2012_id", _far, "backpack has a position beyond 999"),
        ("pytorch_to_imagenet_2012_id", lambda table: table.update(x=1), "keys must be numbers"),
        ("folder_to_objectnet_label", lambda table: table.update(x=1), "must be a table of names"),
    ],
)
def test_files_that_do_not_fit_together_are_told_why(
    tmp_path: Path, name: str, change: Callable[[dict], None], told: str
) -> None:
    imagenets.objectnet(tmp_path)
    path = tmp_path / "mappings" / f"{name}.json"
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))
    with pytest.raises(DataError, match=told):
        positions(tmp_path)


def test_a_file_that_is_cut_short_is_named(tmp_path: Path) -> None:
    imagenets.objectnet(tmp_path)
    path = tmp_path / "mappings" / "folder_to_objectnet_label.json"
    path.write_text(path.read_text()[:20])
    with pytest.raises(DataError, match=r"folder_to_objectnet_label\.json cannot be read"):
        positions(tmp_path)
