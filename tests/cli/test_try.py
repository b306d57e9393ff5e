"""soup try: which models of a folder are compared, and what is refused."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from soup.cli.tried_folder import entries_of
from soup.errors import BadInput
from soup.models import Architecture
from soup.pipeline.stages import cook
from soup.tracking import TrackingError
from soup.weights.checkpoint import Checkpoint, save
from tests.checkouts import REPO
from tests.cli.conftest import Command
from tests.pipeline.projects import record, swept_project
from tests.worlds import draw, put, tiny


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Folders of three models."""
    for seed in range(3):
        put(tmp_path / "models" / f"run{seed}", tiny(seed=seed))
    return tmp_path / "models"


def cooked(soup: Command, models: Path, *options: object) -> Path:
    out = models / "soup" / "model.safetensors"
    said = soup("cook", *options, "-o", out, models / "run0", models / "run1")
    assert said.code == 0, said.err
    return models


def told(folder: Path, single: str | None = None) -> dict[str, tuple[str, list[str]]]:
    found = entries_of(folder, single)
    return {entry.title: (entry.note, [f.name for f in entry.folders]) for entry in found}


def test_a_folder_of_models_is_compared_with_the_soup_of_some(soup: Command, models: Path) -> None:
    cooked(soup, models)
    assert told(models) == {
        "single": ("`run0`", ["run0"]),  # nothing says which is best
        "soup": ("uniform of 2 models", ["soup"]),
        "ensemble": ("of the same 2 models", ["run0", "run1"]),
    }
    assert told(models, "run2")["best single"] == ("`run2`", ["run2"])


def test_the_first_model_of_a_greedy_soup_is_the_best(
    soup: Command, models: Path, tmp_path: Path
) -> None:
    draw(tmp_path / "heldout", {"blue": 6, "green": 6, "red": 6})
    cooked(soup, models, "--heldout", tmp_path / "heldout")
    notes = Checkpoint(models / "soup").metadata
    kept = [*json.loads(notes["ingredients"])]
    shown = told(models)
    assert shown["best single"] == (f"`{kept[0]}`", [kept[0]])
    assert ("ensemble" in shown) == (len(kept) > 1)


def test_models_are_known_by_their_bytes_and_not_by_their_names(
    soup: Command, models: Path
) -> None:
    cooked(soup, models)
    (models / "run1").rename(models / "renamed")
    assert told(models)["ensemble"] == ("of the same 2 models", ["run0", "renamed"])


def test_without_all_models_of_the_soup_there_is_no_ensemble(
    soup: Command, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cooked(soup, models)
    (models / "run1").rename(models.parent / "elsewhere")
    assert [*told(models)] == ["single", "soup"]
    assert "no ensemble: run1 of the soup is not in" in capsys.readouterr().err


def test_an_ensemble_that_memory_cannot_hold_is_left_out(
    soup: Command, models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cooked(soup, models)
    files = [models / name / "model.safetensors" for name in ("run0", "run1", "soup")]
    needed = sum(file.stat().st_size for file in files)  # the single model is one of the soup's
    free = SimpleNamespace(available=needed)
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    assert [*told(models)] == ["single", "soup", "ensemble"]
    free.available -= 1
    assert [*told(models)] == ["single", "soup"]
    assert "no ensemble: with its 2 models all take" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "has no folders of models, nor is it out/EXPERIMENT of a finished"),
        (lambda folder: put(folder / "run0", tiny()), "has no soup among its 1 models: soup cook"),
        (lambda folder: (folder / "prepare.json").write_text("{}"), "no soup yet .finetune is not"),
        (lambda folder: damaged(folder / "soup", "[3]"), "names its ingredients in a way that is"),
        (lambda folder: damaged(folder / "soup", "{"), "names its ingredients in a way that is"),
        (
            lambda folder: damaged(folder / "soup", '{"run0": "0"}'),
            "has none of the models that soup was made of .run0.: put their folders beside it",
        ),
    ],
)
def test_a_folder_without_what_is_compared_is_refused(
    tmp_path: Path, make: object, message: str
) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    make(folder)
    with pytest.raises(BadInput, match=message):
        entries_of(folder)


def damaged(folder: Path, ingredients: str) -> None:
    folder.mkdir()
    notes = {"recipe": "uniform", "ingredients": ingredients}
    save({"w": torch.ones(2)}, folder / "model.safetensors", notes)


def test_several_soups_and_a_name_that_is_not_there_are_refused(
    soup: Command, models: Path
) -> None:
    cooked(soup, models)
    with pytest.raises(BadInput, match=r"--single run9: .* has run0, run1, run2 \(near: "):
        entries_of(models, "run9")
    (models / "soup").rename(models / "other")
    cooked(soup, models)
    with pytest.raises(BadInput, match=r"has several soups \(other, soup\)"):
        entries_of(models)
    with pytest.raises(BadInput, match="nowhere: there is no such folder"):
        entries_of(models / "nowhere")


HIDE = """
import sys

sys.modules["gradio"] = None
import importlib.util

find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "gradio" else find(name, *rest)
from soup.cli import main
main()
"""


def test_without_gradio_the_extra_is_named() -> None:
    command = [sys.executable, "-c", HIDE, "try", "nowhere"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "error: this needs gradio, which is not installed: "
        "pip install '.[try]' in the checkout of modelsoup\n"
    )


@pytest.mark.slow
def test_a_finished_project_knows_its_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    project = swept_project(tmp_path)
    facts = cook.run(project, "cook")
    record(project, "cook", facts)
    single, soup, *ensemble = entries_of(project.out)
    kept = len(facts["kept"])
    assert single.note == f"`{facts['single']}`"
    assert soup.note.startswith("greedy of ")
    assert soup.folders == (project.out / "soup",)
    assert [len(entry.folders) for entry in ensemble] == ([kept] if kept > 1 else [])
    assert Architecture.load(single.folders[0] / "model.json").classes
    ranked = {name: project.store().get([run])[0].cost for name, run in runs_of(project.out)}
    assert ranked[facts["single"]] == min(ranked.values())

    del facts["single"]  # as an earlier release recorded it
    record(project, "cook", facts)
    assert entries_of(project.out)[0].folders == single.folders
    with pytest.raises(BadInput, match="--single is of a folder of models"):
        entries_of(project.out, "probe")
    (single.folders[0] / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"model.safetensors is missing .*\n.*delete .*cook.json"):
        entries_of(project.out)
    # Cooking then marks what is damaged, so that the sweep makes it anew.
    with pytest.raises(TrackingError, match="they alone are made anew"):
        cook.run(project, "again")


def runs_of(out: Path) -> list[tuple[str, str]]:
    runs = json.loads((out / "finetune.json").read_text())["runs"]
    return [(name, run) for name, run in runs.items() if name != "probe"]
