"""Runs in a real MLflow store: found by digest, resumed, ranked."""

from pathlib import Path

import pytest

from soup.files import of_file
from soup.tracking import Store, TrackingError, folders, link
from tests.registries import open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(tmp_path_factory.mktemp("store"))


def test_an_interrupted_run_of_a_digest_is_opened_again_and_a_finished_one_is_not(
    store: Store,
) -> None:
    first = store.start("ingredient", "d1", "one", {"base": "b"}, {"lr": 0.1})
    assert store.find("d1") is None
    assert store.start("ingredient", "d1", "one") == first
    store.end(first, failed="killed")
    assert store.find("d1") is None
    assert store.start("ingredient", "d1", "one") == first
    store.end(first)
    found = store.find("d1")
    assert found is not None
    assert (found.run_id, found.tags["base"], found.params["lr"]) == (first, "b", "0.1")
    assert found.tags["reason"] == "killed"


def test_runs_rank_by_held_out_errors_then_by_name_and_unscored_ones_are_left_out(
    store: Store,
) -> None:
    runs = {}
    nan = float("nan")
    for name, errors in (("c", 3), ("b", 5), ("a", 5), ("unscored", None), ("diverged", nan)):
        runs[name] = store.start("ingredient", f"rank-{name}", name)
        if errors is not None:
            store.log(runs[name], 1, {"heldout/errors": errors})
        store.end(runs[name])
    ids = [runs[name] for name in ("unscored", "diverged", "b", "a", "c")]
    ranked = store.ranked(ids)
    assert [run.name for run in ranked] == ["c", "a", "b"]
    assert store.ranking(runs) == [("c", 3), ("a", 5), ("b", 5)]


def test_more_runs_than_one_query_takes_come_back_in_the_order_asked_for(store: Store) -> None:
    ids = [store.start("x", f"many-{i}", f"{i}") for i in range(130)]
    assert [run.run_id for run in store.get(ids[::-1])] == ids[::-1]
    with pytest.raises(TrackingError, match="has no run nobody"):
        store.get(["nobody"])


def test_weights_are_stored_once_however_often_the_upload_is_begun(
    store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"w")
    run = store.start("ingredient", "upload", "upload")
    store.log_weights(run, "upload", folder, {})
    model = store.log_weights(run, "upload", folder, {})
    held = store.client.search_logged_models([store.experiment_id], f"source_run_id = '{run}'")
    assert [m.model_id for m in held] == [model]
    digest = of_file(folder / "model.safetensors")
    wanted = {model: {"model.safetensors": digest}}
    kept = folders(store, wanted, tmp_path / "cache")[model]
    assert (kept / "model.safetensors").read_bytes() == b"w"
    (kept / "model.safetensors").write_bytes(b"x")
    with pytest.raises(TrackingError, match=r"model\.safetensors is not what was stored"):
        folders(store, wanted, tmp_path / "cache")
    (kept / "model.safetensors").unlink()
    with pytest.raises(TrackingError, match=r"model\.safetensors is missing"):
        folders(store, wanted, tmp_path / "cache")
    with pytest.raises(TrackingError, match="has no model m-nobody"):
        folders(store, {"m-nobody": {}}, tmp_path / "cache")


def test_a_server_that_does_not_answer_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"http://127\.0\.0\.1:9 does not answer"):
        Store("http://127.0.0.1:9", "tests", tmp_path)


def test_links_open_the_page_of_runs_and_a_database_has_none() -> None:
    page = link("http://h:5000/", "experiments/1/runs/r")
    assert page == "http://h:5000/#/experiments/1/runs/r?workflowType=machine_learning"
    assert link("sqlite:///x.db", "experiments/1") == ""
