"""Folders of labelled images for the command: the order of classes, folders without images."""

import shutil
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from soup.cli.heldout_folder import open_evaluator
from soup.data.errors import DataError
from soup.models import build, building
from soup.weights.checkpoint import Checkpoint
from tests.cli.conftest import Candidates, Command
from tests.worlds import COLOURS, architecture, draw, put, tiny

NUMBERS = [str(number) for number in range(12)]
MODEL = "test_resnet.r160_in1k"


def by_numbers(root: Path) -> Path:
    """An image of each of twelve classes that are numbers."""
    draw(root, dict.fromkeys(NUMBERS, 1))
    return root


def labels_of(evaluator: object) -> dict[str, int]:
    return dict(zip(sorted(NUMBERS), evaluator.examples.labels.tolist(), strict=True))


def test_row_k_of_a_head_without_names_is_class_k(tmp_path: Path, soup: Command) -> None:
    torch.manual_seed(0)
    model = timm.create_model(MODEL, num_classes=12)
    save_file(model.state_dict(), tmp_path / "m.safetensors")
    folder = by_numbers(tmp_path / "held")
    made = open_evaluator(folder, f"timm:{MODEL}", Checkpoint(tmp_path / "m.safetensors"))
    assert made.architecture.classes == (*NUMBERS,)
    assert labels_of(made) == {name: int(name) for name in NUMBERS}
    arguments = ("compare", tmp_path / "m.safetensors", "--model", f"timm:{MODEL}", "--on", folder)
    assert "the classes are numbers, in the order 0, 1, 2, and 9 more" in soup(*arguments).err
    assert "numbers" not in soup(*arguments, "--json").err


def test_a_model_is_outlined_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, tiny())
    draw(tmp_path / "held", dict.fromkeys(COLOURS, 1))
    made: list[str] = []
    real = building.outline
    monkeypatch.setattr(
        building, "outline", lambda make, name: made.append(name) or real(make, name)
    )
    opened = open_evaluator(tmp_path / "held", None, Checkpoint(tmp_path / "model.safetensors"))
    assert made == [opened.architecture.model]


def test_folders_of_some_rows_of_a_head_are_of_the_rows_of_their_numbers(
    tmp_path: Path, soup: Command
) -> None:
    save_file(timm.create_model(MODEL, num_classes=12).state_dict(), tmp_path / "m.safetensors")
    folder, weights = by_numbers(tmp_path / "held"), Checkpoint(tmp_path / "m.safetensors")
    shutil.rmtree(folder / "3")
    made = open_evaluator(folder, f"timm:{MODEL}", weights)
    assert sorted(made.examples.labels.tolist()) == [0, 1, 2, *range(4, 12)]
    said = soup("compare", weights.path, "--model", f"timm:{MODEL}", "--on", folder)
    assert "folder 0 is of row 0 of the head, 11 of row 11; 1 of its 12 rows have no" in said.err
    shutil.rmtree(folder / "0")  # from 1 on: of which row is folder 1?
    with pytest.raises(DataError, match=r"has 12 rows: give one folder for each class of the head"):
        open_evaluator(folder, f"timm:{MODEL}", weights)


def test_the_names_in_a_model_decide(tmp_path: Path, soup: Command) -> None:
    """A model of an earlier version, in which numbers were in the order of text."""
    described = architecture(classes=tuple(sorted(NUMBERS)))
    put(tmp_path, (described, build(described)))
    folder = by_numbers(tmp_path / "held")
    made = open_evaluator(folder, None, Checkpoint(tmp_path / "model.safetensors"))
    assert labels_of(made) == {name: row for row, name in enumerate(sorted(NUMBERS))}
    said = soup("compare", tmp_path / "model.safetensors", "--on", folder)
    assert said.code == 0
    assert "numbers" not in said.err


def test_a_model_of_one_class_is_refused_and_a_folder_of_one_of_its_classes_is_not(
    tmp_path: Path, soup: Command
) -> None:
    draw(tmp_path / "held", {"red": 2})
    put(tmp_path, tiny())
    weights = tmp_path / "model.safetensors"
    made = open_evaluator(tmp_path / "held", None, Checkpoint(weights))
    assert made.examples.labels.tolist() == [2, 2]
    described = architecture(classes=("red",))
    put(tmp_path, (described, build(described)))
    said = soup("cook", weights, "--heldout", tmp_path / "held", "-o", tmp_path / "soup")
    assert said.code == 2
    assert "held, has one class alone (red): nothing to classify" in said.err


def test_class_folders_without_images_and_links_to_parents_are_told(
    tmp_path: Path, candidates: Candidates, soup: Command
) -> None:
    draw(tmp_path / "held", {"red": 2, "blue": 2, "green": 2})
    (tmp_path / "held/red/up").symlink_to(tmp_path / "held")
    (tmp_path / "held/violet").mkdir()
    (tmp_path / "held/violet/a.heic").touch()
    weights = Checkpoint(candidates.models[0])
    made = open_evaluator(tmp_path / "held", str(candidates.folder / "model.json"), weights)
    assert len(made) == 6
    assert made.skipped == (
        f"{tmp_path}/held/violet: a class folder without an image that can be read: 1 .heic",
    )
