"""Data sets in a real MLflow store: inputs of runs, and what the metrics of a model are of."""

import json
import math
from pathlib import Path

import mlflow.data
import pytest

from soup.tracking import DataSet, Store
from soup.tracking.data_set import HubSource
from tests.registries import open_store

HELDOUT = DataSet("pets/heldout", "a" * 64, "heldout", "heldout", "/data/pets", {"image": "binary"})
DARK = DataSet("pets/dark", "b" * 64, "shift dark", "shift/dark", "/data/dark", {}, {"examples": 7})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(tmp_path_factory.mktemp("store"))


def test_a_run_has_its_data_sets_with_context_source_and_digest(store: Store) -> None:
    run = store.start("soup", "inputs", "soup", data_sets=[HELDOUT, DARK])
    given = store.client.get_run(run).inputs.dataset_inputs
    found = {each.dataset.name: each for each in given}
    assert {name: {t.key: t.value for t in each.tags} for name, each in found.items()} == {
        "pets/heldout": {"mlflow.data.context": "heldout"},
        "pets/dark": {"mlflow.data.context": "shift dark"},
    }
    dark = found["pets/dark"].dataset
    assert json.loads(dark.profile) == {"examples": 7, "sha256": "b" * 64}
    assert dark.digest == "b" * 36
    assert mlflow.data.get_source(dark).uri == "/data/dark"
    assert '"binary"' in found["pets/heldout"].dataset.schema
    (tracked,) = store.get([run])
    assert tracked.without([HELDOUT, DARK]) == []


def test_a_data_set_of_the_hub_is_opened_by_mlflow(store: Store) -> None:
    source = HubSource("nyu-mll/glue", "cola", "validation", "c" * 40)
    hub = DataSet("nyu-mll/glue/test", "d" * 64, "test", "test", source, {"text": "string"})
    run = store.start("soup", "hub", "soup", data_sets=[hub])
    (given,) = store.client.get_run(run).inputs.dataset_inputs
    found = mlflow.data.get_source(given.dataset)
    assert (found.path, found.config_name, found.split, found.revision) == (
        *("nyu-mll/glue", "cola", "validation"),
        "c" * 40,
    )


def test_what_an_interrupted_run_lacks_is_there_when_it_is_opened_again(store: Store) -> None:
    """As if it was killed after it was made, and had one parameter and one data set."""
    run = store.start("ingredient", "killed", "ft", {}, {"lr": 0.1}, data_sets=[HELDOUT])
    params = {"lr": 0.25, "clip": 1.0}  # a parameter that is there cannot be changed
    assert store.start("ingredient", "killed", "ft", {}, params, None, [HELDOUT, DARK]) == run
    (found,) = store.get([run])
    assert found.params == {"lr": "0.1", "clip": "1.0"}
    assert {name for name, _ in found.data_sets} == {"pets/heldout", "pets/dark"}


def test_metrics_are_of_a_model_and_of_the_data_set_that_they_were_measured_on(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "weights").write_text("w")
    run = store.start("ingredient", "metrics", "ft", data_sets=[HELDOUT, DARK])
    model = store.log_weights(run, "ft", tmp_path, {})
    metrics = {"heldout/accuracy": 0.9, "shift/dark/accuracy": 0.5, "shifts/accuracy": 0.6}
    requests = []
    sent = store.client.log_batch
    try:
        store.client.log_batch = lambda *a, **k: (requests.append(a), sent(*a, **k))
        store.log(run, 3, metrics, model, [HELDOUT, DARK])
        store.log_steps(run, {step: {"trace/seen": float(step)} for step in range(40)})
    finally:
        store.client.log_batch = sent
    assert len(requests) == 2  # one for all steps and all data sets
    found = store.client.get_logged_model(model).metrics
    assert {m.key: (m.value, m.step, m.dataset_name, m.dataset_digest) for m in found} == {
        "heldout/accuracy": (0.9, 3, "pets/heldout", "a" * 36),
        "shift/dark/accuracy": (0.5, 3, "pets/dark", "b" * 36),
        "shifts/accuracy": (0.6, 3, None, None),
    }
    assert store.get([run])[0].metrics == {**metrics, "trace/seen": 39.0}


def test_a_score_that_is_not_defined_is_nan_of_the_run_and_no_zero_of_the_model(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "weights").write_text("w")
    run = store.start("ingredient", "undefined", "ft", data_sets=[HELDOUT])
    model = store.log_weights(run, "ft", tmp_path, {})
    metrics = {"heldout/accuracy": 0.0, "heldout/error": math.nan}
    store.log(run, 3, metrics, model, [HELDOUT])
    found = {m.key: m.value for m in store.client.get_logged_model(model).metrics}
    assert found == {"heldout/accuracy": 0.0}
    assert math.isnan(store.get([run])[0].metrics["heldout/error"])
