"""The same sweep on every runner, with a worker killed in the middle: the same weights."""

import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate

from flows.finetune import fan_out
from flows.runners import choose
from flows.runners.bootstrap import call_worker
from flows.runners.event_log import Reader, Refused
from flows.runners.job_file import JobFile
from flows.runners.runner import Runner
from soup.config.compute import RunnerConfig
from soup.config.params import parse
from soup.files import of_file
from soup.pipeline.project import Project
from soup.pipeline.stage_record import stage
from soup.pipeline.sweep.devices import Capacity
from soup.pipeline.sweep.fine_tunes import FineTune
from soup.pipeline.sweep.opening import open_sweep
from soup.pipeline.sweep.sweep import Sweep
from soup.train.finetune import finetune, folder_of
from tests import checkouts, gates
from tests.gates import Gate
from tests.pipeline.projects import Silent, probed
from tests.servers import PoolWorker, PrefectServer, recording, running
from tests.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks for workers in /proc"),
]
EPOCHS = 16  # so many that some are told of on the way
SHARE = 0.25  # of its steps, to which a run is trained first where that is tried
MIDDLE = 45  # the step after which the one that is killed is held


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Ready to be swept."""
    root = tmp_path_factory.mktemp("shared")
    made = probed(root)
    for name in ("soup", "flows", "dvc.yaml"):
        (root / name).symlink_to(checkouts.REPO / name)
    checkouts.write(root)
    return replace(made, tags={})


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """Records the tasks, and has the pool."""
    with recording(PrefectServer(tmp_path_factory.mktemp("prefect"))) as made:
        yield made


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """In all processes that are started from here on."""
    made = Gate(tmp_path / "gate")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    paths = (gates.BUILT_IN, os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    return made


def searched(project: Project, seed: int, runner: Any, **sweep: Any) -> Project:
    """The project with another sweep, on a runner."""
    raw = checkouts.parameters(project.root)
    space = raw["sweep"]["space"] | {"epochs": [EPOCHS]}
    raw["sweep"] |= {"seed": seed, "runs": 2, "space": space} | sweep
    raw["compute"] |= {"runner": runner}
    return replace(project, params=parse(raw))


def on(project: Project, **compute: Any) -> Project:
    """The same sweep, elsewhere."""
    params = project.params
    changed = params.compute.model_copy(update=compute)
    return replace(project, params=params.model_copy(update={"compute": changed}))


class Killer(Silent):
    """Kills whoever runs a fine-tune that is held in its middle; keeps what it is told."""

    def __init__(self, project: Project, victim: str, gate: Gate | None = None) -> None:
        self.project, self.victim, self.gate = project, victim, gate
        self.killed: list[int] = []
        self.done_with: list[tuple[str, str]] = []
        self.said: list[str] = []
        self.seen: dict[str, list[int]] = {}
        self._lock = threading.Lock()

    def step(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        with self._lock:
            self.seen.setdefault(name, []).append(step)

    @contextmanager
    def killing(self, folder: Path) -> Iterator[None]:
        """Meanwhile, once the victim is held, in whose folder its state is."""
        if self.gate is None:
            yield
            return
        self.gate.close(MIDDLE, only=folder.name)
        with ThreadPoolExecutor(1) as beside:
            done = beside.submit(self._kill, self.gate, folder)
            yield
            done.result()

    def _kill(self, gate: Gate, folder: Path) -> None:
        gate.arrival()
        until(lambda: self.seen.get(self.victim), "a step of it to be told of")
        assert (folder / "state.safetensors").exists()
        self.killed = holders(folder.with_suffix(".lock"))
        for pid in self.killed:
            os.kill(pid, signal.SIGKILL)
        gate.open()

    def done(self, name: str, message: str) -> None:
        self.done_with.append((name, message))

    def say(self, message: str) -> None:
        self.said.append(message)


def holders(file: Path) -> list[int]:
    """Processes that have a file open."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if any(fd.resolve() == file for fd in (entry / "fd").iterdir()):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def swept(project: Project, watcher: Killer, share: float = 0.0) -> tuple[Sweep, dict[str, Any]]:
    """Run a sweep as the flow does, but for its record; a share of each run first, if asked to."""
    code = stage("finetune", project.params, project.root).code
    sweep = open_sweep(project, code, 1)
    folder = sweep.parts[watcher.victim].folder.resolve()
    with choose.chosen(project, code, sweep, watcher) as runner:
        if share:
            train_share(sweep, runner, watcher, share)
        with watcher.killing(folder):
            outcomes = fan_out([*sweep.steps], runner, project.params.compute, watcher)
    return sweep, outcomes


def train_share(sweep: Sweep, runner: Runner, watcher: Killer, share: float) -> None:
    """Train a share of each run, wherever it is taken; what was told of it is forgotten."""
    scores = fan_out([*sweep.steps], runner, watcher.project.params.compute, watcher, share)
    for name, steps in sweep.steps.items():
        assert scores[name] == sweep.train_until(name, ("cpu",), watcher, share)  # as it was kept
        assert steps * share / 2 < max(watcher.seen[name]) <= steps * share  # told now and then
    watcher.seen.clear()


def check(project: Project, victim: str, gate: Gate, tmp_path: Path, share: float = 0.0) -> Sweep:
    """A sweep with one worker killed is as if nothing had happened."""
    watcher = Killer(project, victim, gate)
    sweep, outcomes = swept(project, watcher, share)
    assert len(watcher.killed) == 1
    assert outcomes.keys() == sweep.steps.keys()
    ids = {name: run for runs in outcomes.values() for name, run in runs.items()}
    assert {name for name, _ in watcher.done_with} == set(ids)
    for run in sweep.store.get([*ids.values()]):
        part = sweep.parts[run.name]
        assert isinstance(part, FineTune)
        apart = replace(part.job, folder=tmp_path / run.name)
        finetune(apart, lambda *_: None)
        expected = of_file(folder_of(apart, "") / "model.safetensors")
        assert run.tags["sha256.model.safetensors"] == expected
        history = sweep.store.client.get_metric_history(run.run_id, "train/loss")
        logged = [metric.step for metric in history]
        # The killed one went on from its state; the others ran through.
        assert logged.count(min(logged)) == 1
        if run.name != victim:
            assert len(logged) == len(set(logged))
    assert all(watcher.seen[name] for name in ids)
    found = Killer(project, victim)
    assert swept(on(project, runner=RunnerConfig()), found)[1] == outcomes
    assert {message for _, message in found.done_with} == {"finished before"}
    assert not [*(project.cache / "orders").iterdir()]
    return sweep


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"host": "elsewhere"}, r"MLflow's store is a file of elsewhere, sqlite.*MLFLOW_TRACKING_"),
        ({"code": "another"}, r"source files in .* are not those of .*; let both be at the same"),
        ({"sweep": "0" * 32}, r"MLflow at sqlite.* has no run 0{32}"),
        ({"params": {}}, r"problems"),
    ],
)
def test_a_host_that_differs_says_how_before_it_trains(
    project: Project, changed: dict[str, Any], says: str
) -> None:
    code = stage("finetune", project.params, project.root).code
    job = JobFile.of(project, code, open_sweep(project, code, 1), Capacity(1, "cpu", 1, 1))
    root = str(project.root)
    for wrong in (True, False):
        folder = (replace(job, **changed) if wrong else job).write(project)
        said = call_worker(root, "problem", folder)
        assert re.search(says, said) if wrong else said == ""
        watcher = Killer(project, "ft-000")
        reader = Reader(project.root / folder / "a.jsonl", watcher)
        if wrong:
            assert call_worker(root, "carry_out", folder, "a.jsonl", "ft-000", 1.0) == ""
            reader.read()
            with pytest.raises(Refused, match=says):
                reader.outcome("unheard")
            assert not watcher.seen
        shutil.rmtree(project.root / folder)
    assert "does not see" in call_worker(root, "carry_out", folder, "a.jsonl", "ft-000", 1.0)
    assert "does not see the project folder" in call_worker(f"{root}/none", "problem", folder)


def test_ray_trains_a_share_of_each_run_and_the_rest(
    project: Project, gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else all other tests go before its workers
    ray = {"kind": "ray", "workers": 2}
    check(searched(project, 2, ray), "ft-001", gate, tmp_path, SHARE)


@pytest.fixture
def pool(project: Project, server: PrefectServer, gate: Gate, tmp_path: Path) -> Iterator[str]:
    """A work pool; its worker is a process of its own."""
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="shed", type="process"))
    worker = PoolWorker(project.root, "shed", server.api, tmp_path)
    worker.environment |= gate.environment
    with running(worker):
        yield "shed"


def test_a_work_pool(project: Project, pool: str, gate: Gate, tmp_path: Path) -> None:
    changed = searched(project, 3, {"kind": "pool", "pool": pool})
    changed = on(changed, slots=2)
    check(changed, "ft-001", gate, tmp_path)
