"""The models of a finished project: which is the best, and that looking at them writes nothing."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from soup.errors import BadInput
from soup.files import of_file, write_json
from soup.pipeline.finished_models import finished_models
from soup.tracking import Store, TrackingError
from tests import homes
from tests.worlds import put, tiny

MATTHEWS = {  # by errors 'a' is the best of the fine-tunes, by the score 'b'
    "a": {"heldout/errors": 3.0, "heldout/matthews": 0.5},
    "b": {"heldout/errors": 4.0, "heldout/matthews": 0.8},
    "c": {"heldout/errors": 5.0, "heldout/matthews": 0.8},
    "probe": {"heldout/errors": 1.0, "heldout/matthews": 0.9},
}


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project whose soup is of 'a' and 'b', as an earlier release recorded it."""
    root = tmp_path / "project"
    store, runs = Store(homes.tracking(root), "shapes", root / "mlruns"), {}
    model = put(tmp_path / "model", tiny())
    digest = of_file(model / "model.safetensors")
    for name, metrics in MATTHEWS.items():
        tags = {"sha256.model.safetensors": digest}
        runs[name] = store.start("ingredient", name, name, tags)
        store.log(runs[name], 0, metrics, store.log_weights(runs[name], name, model, tags))
        store.end(runs[name])
    write_json(root / "out/shapes/finetune.json", {"runs": runs, "score": "matthews"})
    cooked(root, {"score": "matthews"})
    return root


def cooked(root: Path, facts: Mapping[str, object]) -> None:
    plain = {"recipe": "uniform", "kept": ["a", "b"]}
    write_json(root / "out/shapes/cook.json", {**plain, **facts})


def state_of(folder: Path) -> dict[Path, tuple[bytes, int]]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


@pytest.mark.parametrize(
    ("facts", "best"),
    [
        ({}, "a"),
        ({"score": "accuracy"}, "a"),
        ({"score": "matthews"}, "b"),
        ({"score": "matthews", "kept": ["a", "probe"]}, "probe"),  # it is an ingredient
        ({"score": "matthews", "single": "c"}, "c"),
    ],
)
def test_the_best_is_that_by_the_score_of_the_project(
    root: Path, facts: Mapping[str, object], best: str
) -> None:
    cooked(root, facts)
    found = finished_models(root / "out/shapes")
    assert found.single[0] == best
    assert (found.single[1] / "model.safetensors").is_file()


def test_nothing_is_written_where_models_are_looked_at(root: Path) -> None:
    before = state_of(root.parent)
    assert len(finished_models(root / "out/shapes").members) == 2
    assert state_of(root.parent) == before


def test_a_damaged_model_is_named_and_its_run_stays_as_it_is(root: Path) -> None:
    file = finished_models(root / "out/shapes").single[1] / "model.safetensors"
    file.write_bytes(b"changed")
    before = state_of(root.parent)
    with pytest.raises(
        BadInput, match=r"cannot be read: .*is not what was stor[^$]*delete .*cook.json"
    ):
        finished_models(root / "out/shapes")
    assert state_of(root.parent) == before


def test_without_its_database_or_experiment_a_project_is_refused_and_none_is_made(
    root: Path,
) -> None:
    (root / "out/shapes").rename(root / "out/other")
    before = state_of(root.parent)
    with pytest.raises(TrackingError, match="has no experiment other"):
        finished_models(root / "out/other")
    assert state_of(root.parent) == before
    (root / "mlflow.db").unlink()
    before = state_of(root.parent)
    with pytest.raises(TrackingError, match=r"MLflow's database .*mlflow.db is not there"):
        finished_models(root / "out/other")
    assert state_of(root.parent) == before
