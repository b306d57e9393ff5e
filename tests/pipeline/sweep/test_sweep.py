"""A sweep on a real MLflow store: what is found again, averages, and runs stopped early."""

import json
import threading
import zlib
from dataclasses import fields, replace
from typing import Any

import pytest

from soup.config.params import parse
from soup.errors import DiskFull
from soup.pipeline.project import Project
from soup.pipeline.sweep import fine_tunes
from soup.pipeline.sweep import sweep as sweep_module
from soup.pipeline.sweep.ingredient_runs import IngredientRuns
from soup.pipeline.sweep.opening import open_sweep
from soup.pipeline.sweep.part import SweepError
from soup.pipeline.sweep.sampling import sample
from soup.pipeline.sweep.sweep import Sweep
from soup.tracking import Store
from soup.train.hyperparameters import Hyperparameters
from soup.train.run_state import Stopped
from soup.train.worker_process import Failed
from tests.checkouts import parameters
from tests.pipeline.projects import Silent, probed, record
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.slow


class Listening(Silent):
    def __init__(self) -> None:
        self.told: dict[str, str] = {}

    def done(self, name: str, message: str) -> None:
        self.told[name] = message


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Its sweep is done."""
    made = probed(tmp_path_factory.mktemp("project"))
    sweep = open_sweep(made, code="code", threads=1)
    record(
        made, "finetune", sweep.close({n: sweep.run(n, ("cpu",), Silent()) for n in sweep.steps})
    )
    return made


def other(project: Project, **sweep: Any) -> Sweep:
    """Another sweep of the same project."""
    raw = parameters(project.root)
    params = parse(raw | {"sweep": raw["sweep"] | sweep})
    return open_sweep(replace(project, params=params), code="code", threads=1)


def runs_of(project: Project) -> dict[str, str]:
    runs: dict[str, str] = json.loads((project.out / "finetune.json").read_text())["runs"]
    return runs


def test_a_sweep_opened_again_finds_every_fine_tune_finished(project: Project) -> None:
    watcher, again = Listening(), open_sweep(project, code="code", threads=1)
    assert again.finished == {name: {name: runs_of(project)[name]} for name in again.steps}
    for name in again.steps:
        assert again.run(name, ("cpu",), watcher) == {name: runs_of(project)[name]}
    assert set(watcher.told.values()) == {"finished before"}


def test_changed_code_is_another_ingredient(project: Project) -> None:
    changed = open_sweep(project, code="other code", threads=1)
    assert changed.run_id != json.loads((project.out / "finetune.json").read_text())["sweep"]
    digests = {part.digest for part in changed.parts.values()}
    before = open_sweep(project, code="code", threads=1)
    assert not digests & {part.digest for part in before.parts.values()}
    with pytest.raises(SweepError, match="all 1 fine-tunes failed, the last because boom"):
        changed.close({"ft-000": Failed("boom")})
    with pytest.raises(RuntimeError, match="the store is gone"):  # no failure of the fine-tune
        changed.close({"ft-000": RuntimeError("the store is gone"), "ft-001": {}})


def test_that_nothing_is_reused_is_told_with_the_number_of_what_could_have_been(
    project: Project,
) -> None:
    told: list[str] = []
    listening = replace(project, say=told.append)
    open_sweep(listening, code="code of another version", threads=1)
    (line,) = told
    assert line.startswith("3 finished ingredients of this experiment are not reused: code, base")
    told.clear()
    open_sweep(listening, code="code", threads=1)  # all of this sweep are finished
    raw = parameters(project.root)
    longer = parse(raw | {"sweep": raw["sweep"] | {"runs": 4}})
    open_sweep(replace(listening, params=longer), code="code", threads=1)  # some are reused
    assert told == []


def test_a_changed_description_of_the_model_is_another_ingredient(project: Project) -> None:
    before = open_sweep(project, code="code", threads=1)
    description = project.out / "probe" / "model.json"
    text = description.read_text()
    changed = json.loads(text)
    changed["std"] = [0.3, 0.3, 0.3]
    try:
        description.write_text(json.dumps(changed))
        after = open_sweep(project, code="code", threads=1)
    finally:
        description.write_text(text)
    assert after.finished == {}
    assert after.run_id != before.run_id
    digests = {part.digest for part in before.parts.values()}
    assert not digests & {part.digest for part in after.parts.values()}


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (Failed("it diverged"), "FAILED", "it diverged"),
        (RuntimeError("no kernel"), "FAILED", "RuntimeError: no kernel"),
        (DiskFull("the disk is full"), "FAILED", "the disk is full"),
        (Stopped("asked to stop"), "RUNNING", None),  # the stage marks it as killed
    ],
)
def test_what_ends_a_fine_tune_ends_its_run_with_the_reason(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: str,
    reason: str | None,
) -> None:
    def fails(_job: Any, _log: Any, _say: Any, begun: Any, *_: Any) -> None:
        begun()
        raise error

    sweep = other(project, seed=zlib.crc32(str(error).encode()))
    monkeypatch.setattr(fine_tunes, "run", fails)
    with pytest.raises(type(error)):
        sweep.run("ft-000", ("cpu",), Silent())
    run = project.store().find(sweep.parts["ft-000"].digest, finished=False)
    assert run is not None
    assert (run.status, run.tags.get("reason")) == (status, reason)


def test_the_run_of_a_sweep_says_what_was_searched(project: Project) -> None:
    sweep = open_sweep(project, code="code", threads=1)
    (run,) = project.store().get([sweep.run_id])
    assert run.params["base.model"] == project.params.base.model
    assert float(run.params["space.lr.max"]) == project.params.sweep.space.lr.max
    assert not {"runs", "halving"} & run.params.keys()
    described = project.store().client.get_run(sweep.run_id).data.tags["mlflow.note.content"]
    assert described.startswith("3 of 3 fine-tunes, 4 ingredients, best ft-00")


def test_all_hyperparameters_are_logged_with_the_run(project: Project) -> None:
    sweep = open_sweep(project, code="code", threads=1)
    (run,) = project.store().get([runs_of(project)["ft-000"]])
    expected = sweep.parts["ft-000"].params
    assert run.params == {name: str(value) for name, value in expected.items()}
    assert run.params.keys() == {field.name for field in fields(Hyperparameters)}
    assert (run.tags["threads"], run.tags["devices"]) == ("1", "1")
    exact = Hyperparameters.from_dict(json.loads(run.tags["hyperparameters"]))
    assert exact == sample(project.params.sweep)[0]
    assert float(run.params["lr"]) == pytest.approx(exact.lr, rel=1e-5)
    assert len(run.params["lr"]) < 12 < len(str(exact.lr))


def test_runs_of_a_sweep_have_its_data_sets_and_models_their_held_out_figures(
    project: Project,
) -> None:
    store = project.store()
    sweep = open_sweep(project, code="code", threads=1).run_id
    for run_id in (sweep, *runs_of(project).values()):
        given = store.client.get_run(run_id).inputs.dataset_inputs
        assert {each.dataset.name: each.tags[0].value for each in given} == {
            "data/train": "training",
            "data/heldout": "heldout",
        }
    for run in store.get([*runs_of(project).values()]):
        figures = {m.key: m for m in store.client.get_logged_model(run.model_id).metrics}
        assert figures["heldout/accuracy"].value == run.metrics["heldout/accuracy"]
        assert figures["heldout/accuracy"].dataset_name == "data/heldout"


def test_averages_are_ingredients_with_runs_of_their_own(project: Project) -> None:
    sweep = other(project, ema=[0.5, 0.9], swa={"start": 0.1})
    assert sweep.run_id != json.loads((project.out / "finetune.json").read_text())["sweep"]
    made = sweep.run("ft-000", ("cpu",), Silent())
    assert sorted(made) == ["ft-000", "ft-000-ema-0.5", "ft-000-ema-0.9", "ft-000-swa"]
    watcher = Listening()
    assert sweep.run("ft-000", ("cpu",), watcher) == made
    assert sweep.finished == {}  # when it was opened
    reopened = other(project, ema=[0.5, 0.9], swa={"start": 0.1})
    assert reopened.finished == {"ft-000": made}
    assert watcher.told == {"ft-000": "finished before"}
    found = {run.name: run for run in sweep.store.get([*made.values()])}
    averages = {name: run.params.get("average") for name, run in found.items()}
    assert averages == {n: n.removeprefix("ft-000-") if n != "ft-000" else None for n in made}
    assert {run.params["lr"] for run in found.values()} == {found["ft-000"].params["lr"]}
    assert len({run.tags["sha256.model.safetensors"] for run in found.values()}) == 4
    closed = sweep.close({"ft-000": made})
    assert closed["runs"].keys() == {"probe", *made}
    assert "1 of 1 fine-tunes, 5 ingredients" in closed["summary"]


def test_a_run_stopped_early_says_why_and_one_that_goes_on_ends_as_if_never_paused(
    project: Project,
) -> None:
    sweep, watcher = other(project, seed=7), Listening()
    first, second, _ = sweep.steps
    scores = {name: sweep.train_until(name, ("cpu",), watcher, 0.5) for name in (first, second)}
    assert scores == {name: sweep.train_until(name, ("cpu",), watcher, 0.5) for name in scores}
    assert all(0 < score < 1 for score in scores.values())
    lag = sweep.stop(second, "stopped after 50% of the run", watcher)
    stopped = sweep.store.find(sweep.parts[second].digest, finished=False)
    assert stopped is not None
    assert stopped.tags["reason"] == str(lag) == watcher.told[second]
    (run,) = sweep.run(first, ("cpu",), watcher).values()
    assert sweep.train_until(first, ("cpu",), watcher, 0.5) == scores[first]
    closed = sweep.close({first: {first: run}, second: lag})
    assert closed["failed"] == {second: "stopped after 50% of the run"}

    apart = probed_again(project)
    through = other(apart, seed=7)
    (plain,) = through.run(first, ("cpu",), watcher).values()
    both = [*sweep.store.get([run]), *through.store.get([plain])]
    assert len({each.tags["sha256.model.safetensors"] for each in both}) == 1


def probed_again(project: Project) -> Project:
    """A project of the same content in a place of its own."""
    return probed(project.root.with_name("apart"))


def test_devices_are_free_once_it_is_trained_and_before_it_is_stored(project: Project) -> None:
    sweep = other(project, seed=13)
    part = sweep.parts["ft-000"]
    seen = []

    def release() -> None:
        seen.append((any(part.folder.rglob("model.safetensors")), sweep.store.find(part.digest)))

    sweep.run("ft-000", ("cpu",), Silent(), release)
    assert seen == [(True, None)]
    assert sweep.store.find(part.digest) is not None


def test_devices_do_not_wait_for_metrics_that_the_store_takes_its_time_for(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = other(project, seed=14)
    freed, plain = threading.Event(), Store.log_steps
    logged: list[int] = []

    def slow(store: Store, run_id: str, steps: Any, *others: Any) -> None:
        assert freed.wait(PATIENCE), "devices that wait for the store"
        plain(store, run_id, steps, *others)
        logged.extend(steps)

    monkeypatch.setattr(Store, "log_steps", slow)
    (run,) = sweep.run("ft-000", ("cpu",), Silent(), freed.set).values()
    last = sweep.steps["ft-000"]
    assert last in logged
    client = project.store().client
    assert last in [m.step for m in client.get_metric_history(run, "train/loss")]


def test_the_longest_begin_first_and_equal_ones_in_their_order(project: Project) -> None:
    sweep = other(project, seed=16, runs=24, space={"epochs": {"min": 1, "max": 3}})
    lengths = {}
    for name, part in sweep.parts.items():
        assert isinstance(part, fine_tunes.FineTune)
        sam = part.job.hyperparameters.sam > 0
        lengths[name] = part.job.hyperparameters.epochs * (2 if sam else 1)
    order = sweep.longest_first()
    assert order == sorted(lengths, key=lambda name: (-lengths[name], name))
    assert order != [*lengths]


def test_the_probe_is_stored_while_devices_train(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = other(project, seed=17)

    def kept() -> bool:
        return any(run.name == "probe" for run in sweep.store.finished(sweep.run_id).values())

    monkeypatch.setattr(sweep_module, "PROBE_AFTER", PATIENCE)
    with sweep.probe_kept_meanwhile():
        pass  # the end does not wait until it is time to
    assert not kept()
    monkeypatch.setattr(sweep_module, "PROBE_AFTER", 0.0)
    with sweep.probe_kept_meanwhile():
        until(kept, "the probe")


def test_a_probe_that_cannot_be_stored_is_tried_again_at_the_end(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    def refuses(*_: Any) -> str:
        asked.set()
        raise ConnectionError("no tracking server")

    sweep = other(project, seed=18, runs=1)
    with monkeypatch.context() as away:
        away.setattr(sweep_module, "PROBE_AFTER", 0.0)
        away.setattr(IngredientRuns, "keep_probe", refuses)
        with sweep.probe_kept_meanwhile():
            assert asked.wait(PATIENCE)
    done = sweep.close({"ft-000": sweep.run("ft-000", ("cpu",), Silent())})
    assert sweep.store.get([done["runs"]["probe"]])[0].status == "FINISHED"


def test_a_store_that_takes_no_metrics_ends_the_fine_tune_with_the_reason(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: Any) -> None:
        raise ConnectionError("no tracking server")

    sweep = other(project, seed=15)
    monkeypatch.setattr(Store, "log_steps", refuses)
    with pytest.raises(ConnectionError, match="no tracking server"):
        sweep.run("ft-000", ("cpu",), Silent())
    run = project.store().find(sweep.parts["ft-000"].digest, finished=False)
    assert run is not None
    assert (run.status, run.tags["reason"]) == ("FAILED", "ConnectionError: no tracking server")


def test_what_a_fine_tune_says_is_kept_with_its_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from soup.pipeline.sweep import fine_tunes

    plain = fine_tunes.run

    def speaking(job: Any, log: Any, say: Any, *others: Any) -> Any:
        say("out of memory: halved")
        return plain(job, log, say, *others)

    monkeypatch.setattr(fine_tunes, "run", speaking)
    told: list[str] = []

    class Hearing(Silent):
        def say(self, message: str) -> None:
            told.append(message)

    (run,) = other(project, seed=11).run("ft-000", ("cpu",), Hearing()).values()
    assert told == ["ft-000: out of memory: halved"]
    assert project.store().get([run])[0].tags["note"] == "out of memory: halved"
