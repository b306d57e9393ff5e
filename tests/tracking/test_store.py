"""Runs in a real MLflow store: found by digest, resumed, ranked."""

import signal
from pathlib import Path

import pytest

from soup.files import of_file
from soup.tracking import (
    Store,
    TrackingError,
    folders,
    link,
    require_experiment,
    runs_end_with_block,
)
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
    create = store.client.create_run
    ids = [create(store.experiment_id, None, {}, f"{i}").info.run_id for i in range(130)]
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


def test_an_experiment_that_was_deleted_is_named_with_the_command_that_restores_it(
    tmp_path: Path,
) -> None:
    store = open_store(tmp_path, "gone")
    require_experiment(store.uri, "gone")
    run = store.start("soup", "d", "soup")
    store.client.delete_experiment(store.experiment_id)
    said = (
        f"experiment gone was deleted in MLflow at {store.uri}; restore it with "
        f"MLFLOW_TRACKING_URI={store.uri} mlflow experiments restore -x {store.experiment_id}, "
        r"or choose another name for it \(experiment in params.yaml\)"
    )
    for meets_it in (
        lambda: Store(store.uri, "gone", tmp_path),
        lambda: require_experiment(store.uri, "gone"),
        lambda: store.start("soup", "other", "soup"),  # deleted meanwhile
        lambda: store.start("soup", "d", "soup"),
    ):
        with pytest.raises(TrackingError, match=said):
            meets_it()
    store.client.restore_experiment(store.experiment_id)
    assert Store(store.uri, "gone", tmp_path).start("soup", "d", "soup") == run


def test_an_experiment_is_not_made_by_the_check_that_it_is_not_deleted(tmp_path: Path) -> None:
    require_experiment(f"sqlite:///{tmp_path}/none.db", "any")
    require_experiment("http://127.0.0.1:9", "any")
    assert [*tmp_path.iterdir()] == []
    store = open_store(tmp_path, "one")
    require_experiment(store.uri, "another")
    assert store.client.get_experiment_by_name("another") is None


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (TrackingError("the store is closed"), "FAILED", "the store is closed"),
        (MemoryError("1 GB"), "FAILED", "MemoryError: 1 GB"),
        (OSError(), "FAILED", "OSError"),
        (KeyboardInterrupt(), "KILLED", None),
        (SystemExit(143), "KILLED", None),
    ],
)
def test_what_ends_a_block_ends_the_runs_that_it_left_open(
    store: Store,
    error: BaseException,
    status: str,
    reason: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("soup.tracking.open_runs._open", {})  # not those of other tests
    name = f"open {type(error).__name__}"
    sweep = store.start("sweep", name, "sweep")
    child = store.start("ingredient", f"{name} child", "child", parent=sweep)
    # Begun in another process.
    tags = {"mlflow.parentRunId": sweep}
    other = store.client.create_run(store.experiment_id, tags=tags, run_name="other").info.run_id
    done = store.start("ingredient", f"{name} done", "done", parent=sweep)
    store.end(done)
    with pytest.raises(type(error)), runs_end_with_block():
        raise error
    runs = store.get([sweep, child, other, done])
    assert [run.status for run in runs] == [status, status, "KILLED", "FINISHED"]
    assert [run.tags.get("reason") for run in runs] == [reason, reason, None, None]
    assert store.start("sweep", name, "sweep") == sweep
    assert store.get([sweep])[0].status == "RUNNING"
    store.end(sweep)


def test_sigterm_ends_the_runs_of_a_program_that_does_not_handle_it(store: Store) -> None:
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    run = store.start("soup", "sigterm", "soup")
    try:
        with pytest.raises(SystemExit) as ended, runs_end_with_block():
            signal.raise_signal(signal.SIGTERM)
        assert ended.value.code == 143
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
    assert store.get([run])[0].status == "KILLED"
