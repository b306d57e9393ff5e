"""A registered version scored by what the registry holds, and nothing else."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from soup import tracking
from soup.config.params import parse
from soup.errors import BadInput
from soup.evaluation.metrics import correct
from soup.evaluation.predict import predict
from soup.pipeline.heldout import heldout_of
from soup.pipeline.project import Project
from soup.pipeline.stages.evaluate_version import evaluate
from soup.tracking import TrackingError
from tests import checkouts, worlds
from tests.pipeline.projects import probed
from tests.registries import registered

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project, and version 1 of tiny-soup, with the alias challenger."""
    made = probed(tmp_path_factory.mktemp("project"))
    registered(made.store(), "tiny-soup")
    return made


def test_the_figures_are_the_models_own_and_become_tags_of_the_version(project: Project) -> None:
    found = evaluate(project, "tiny-soup", "challenger")
    assert found["version"] == "1"
    architecture, model = worlds.tiny(seed=0)
    heldout = heldout_of(project, architecture)
    right = correct(predict(model, heldout), heldout.labels)
    assert found["accuracy"]["heldout"] == pytest.approx(right.mean())
    store = project.store()
    run = store.get([found["run_id"]])[0]
    assert {"test/accuracy", "test/nll", "shift/dark/ece", "shifts/accuracy"} <= run.metrics.keys()
    assert (run.tags["model"], run.tags["version"]) == ("tiny-soup", "1")
    version = tracking.version(store, "tiny-soup", "1")
    assert version.tags["evaluation.tiny"] == found["run_id"]
    assert version.tags["evaluation.tiny.test"] == f"{found['accuracy']['test']:.6f}"
    logged = store.client.get_run(found["run_id"])
    sets = {given.dataset.name for given in logged.inputs.dataset_inputs}
    assert sets == {"data/heldout", "data/test", "data/dark"}
    (used,) = logged.inputs.model_inputs
    metrics = store.client.get_logged_model(used.model_id).metrics
    assert ("test/nll", "data/test") in {(m.key, m.dataset_name) for m in metrics}
    assert used.model_id == tracking.model_of(store, version) != ""


def test_what_was_evaluated_is_found_and_with_other_intervals_it_is_done_again(
    project: Project,
) -> None:
    first = evaluate(project, "tiny-soup", "1")
    assert evaluate(project, "tiny-soup", "challenger")["run_id"] == first["run_id"]
    plain = checkouts.parameters(project.root, evaluate={"bootstrap": 20, "ece_bins": 3})
    again = evaluate(replace(project, params=parse(plain)), "tiny-soup", "1")
    assert again["run_id"] != first["run_id"]
    assert again["accuracy"] == first["accuracy"]


def test_a_version_that_is_not_there_is_told_with_those_that_are(project: Project) -> None:
    with pytest.raises(TrackingError, match="version champion: there are 1, challenger"):
        evaluate(project, "tiny-soup", "champion")
    with pytest.raises(TrackingError, match="tiny-soup version 2: there are 1"):
        evaluate(project, "tiny-soup", "2")
    with pytest.raises(TrackingError, match="minestrone"):
        evaluate(project, "minestrone", "1")


def test_a_version_that_knows_other_classes_is_not_scored(project: Project, tmp_path: Path) -> None:
    other = replace(project, params=project.params.model_copy(update={"experiment": "other"}))
    shutil.copytree(project.out, other.out)
    for manifest in (other.development, other.evaluation):
        manifest.write_text(manifest.read_text().replace("red", "crimson"))
    with pytest.raises(
        BadInput, match=r"version 1 knows 3 classes \(blue, green, red\); .*crimson"
    ):
        evaluate(other, "tiny-soup", "1")
    assert "evaluation.other" not in tracking.version(project.store(), "tiny-soup", "1").tags
