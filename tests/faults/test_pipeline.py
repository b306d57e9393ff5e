"""Killed at any moment and started again: nothing finished is lost or done twice."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import checkouts
from tests.faults.ground import ALL, Ground, Trial
from tests.gates import PATIENT, Gate
from tests.waiting import PATIENCE, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc"),
]


@pytest.fixture
def gate(plain: Ground) -> Iterator[Gate]:
    yield plain.gate
    plain.gate.open()


def held_in_the_middle(plain: Ground, **compute: Any) -> Trial:
    """A project with three fine-tunes of five epochs, one at a time; each is held at the gate."""
    sweep = checkouts.parameters(plain.folder)["sweep"]
    sweep["space"]["epochs"] = [5]
    compute |= {"slots": 1, "checkpoint_seconds": 3600}
    trial = plain.trial(ALL, sweep=sweep, compute=compute)
    plain.gate.close(step=18)
    return trial


@contextmanager
def started(root: Path, gate: Gate) -> Iterator[subprocess.Popen[str]]:
    """The pipeline as a user starts it: a process and a temporary Prefect server of its own."""
    ran = subprocess.Popen(
        [sys.executable, "-m", "flows.pipeline"],
        cwd=root,
        env=checkouts.environment(root, **gate.environment, **PATIENT),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield ran
    finally:
        ran.kill()
        ran.communicate()


def children_of(root: Path) -> list[int]:
    """Processes that work in the checkout."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").resolve() == root.resolve():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_a_pipeline_killed_in_the_middle_of_the_sweep_goes_on_where_it_was(
    plain: Ground, gate: Gate
) -> None:
    import mlflow

    # The second fine-tune is held in its middle when the first is stored.
    trial = held_in_the_middle(plain, checkpoint_steps=5)
    root = trial.root
    with started(root, gate) as ran:
        first = gate.arrival()
        client = mlflow.MlflowClient(trial.uri, trial.uri)
        experiment = client.get_experiment_by_name("tiny").experiment_id
        whole = run_of(client, first.name).info.run_name
        first.go_on()
        assert ran.stderr is not None
        assert any(whole in line and "held-out in" in line for line in ran.stderr)
        second = gate.arrival()
        assert (root / ".cache/soup/runs" / second.name / "state.safetensors").exists()
        cut = run_of(client, second.name)
        until(lambda: 10 in steps_of(client, cut), "step 10 of the one to be killed")
        ran.send_signal(signal.SIGKILL)
        ran.wait()
    nobody_works_in(root)  # Prefect's temporary server ends as well

    kept = client.search_runs(
        [experiment], "attributes.status = 'FINISHED' AND attributes.run_name LIKE 'ft-%'"
    )
    assert [r.info.run_name for r in kept] == [whole]

    gate.open()
    assert trial.run() == 0, trial.log.read_text()[-3000:]
    assert "finished before" in trial.log.read_text()
    after = client.search_runs([experiment], "tags.`soup.kind` = 'ingredient'")
    assert sorted(r.info.run_name for r in after) == ["ft-000", "ft-001", "ft-002", "probe"]
    assert all(r.info.status == "FINISHED" for r in after)
    same = client.get_run(kept[0].info.run_id)
    assert same.info.end_time == kept[0].info.end_time
    # The interrupted one went on in its own run, from its state and not from its first step.
    steps = steps_of(client, cut)
    assert steps.count(10) == 1
    assert steps[-1] == max(steps)
    assert len(client.search_logged_models([experiment])) == 5
    assert not list((root / ".cache/soup/runs").glob("*/"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_pipeline_in_good_order(
    plain: Ground, gate: Gate, number: signal.Signals
) -> None:
    import mlflow

    trial = held_in_the_middle(plain)
    if number == signal.SIGINT:
        with started(trial.root, gate) as ran:
            held = gate.arrival()
            ran.send_signal(number)
            _, said = ran.communicate(timeout=PATIENCE)
        code = ran.returncode
    else:  # as a worker does, and as `kill` does
        pid = trial.start()
        held = gate.arrival()
        code = trial.kill(pid, number)
        said = trial.log.read_text()
    assert code == 128 + number
    assert f"{number.name}: stopping; started again it goes on where it was" in said
    assert "Traceback" not in said
    # Which its interval had not asked for.
    assert len([*(trial.root / ".cache/soup/runs").glob("*/state.safetensors")]) == 1
    nobody_works_in(trial.root)
    client = mlflow.MlflowClient(trial.uri, trial.uri)
    cut = run_of(client, held.name)
    assert cut.info.status == "KILLED"
    assert client.get_run(cut.data.tags["mlflow.parentRunId"]).info.status == "KILLED"


def run_of(client: Any, digest: str) -> Any:
    """MLflow's run of a fine-tune."""
    experiment = client.get_experiment_by_name("tiny").experiment_id
    (run,) = client.search_runs([experiment], f"tags.`soup.digest` = '{digest}'")
    return run


def steps_of(client: Any, run: Any) -> list[int]:
    """Those at which its loss was logged."""
    return [m.step for m in client.get_metric_history(run.info.run_id, "train/loss")]


def nobody_works_in(root: Path) -> None:
    """What was started there ends."""
    try:
        until(lambda: not children_of(root), "the end of all processes")
    except AssertionError:
        raise AssertionError([command(pid) for pid in children_of(root)]) from None


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def test_a_fine_tune_that_diverges_is_marked_failed_and_the_sweep_goes_on(plain: Ground) -> None:
    import mlflow

    sweep = checkouts.parameters(plain.folder)["sweep"]
    sweep |= {"method": "grid", "runs": 2, "clip": 1e30}
    sweep["space"] |= {"lr": [1e-3, 1e30], "epochs": [3]}
    trial = plain.trial(ALL, sweep=sweep)
    assert trial.run() == 0, trial.log.read_text()[-3000:]
    assert "failed: the loss became" in trial.log.read_text()
    record = json.loads((trial.root / "out/tiny/finetune.json").read_text())
    assert set(record["runs"]) == {"probe", "ft-000"}
    assert "at step" in record["failed"]["ft-001"]
    client = mlflow.MlflowClient(trial.uri, trial.uri)
    experiment = client.get_experiment_by_name("tiny").experiment_id
    (lost,) = client.search_runs([experiment], "attributes.status = 'FAILED'")
    assert lost.data.tags["soup.reason"] == record["failed"]["ft-001"]
    assert "ft-001" in (trial.root / "out/tiny/report.html").read_text()
