"""Killed at any moment and started again: nothing finished is lost or done twice."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import checkouts

pytestmark = pytest.mark.slow


def start(root: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "flows.pipeline"],
        cwd=root,
        env=checkouts.environment(root),
        stderr=subprocess.PIPE,
        text=True,
    )


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


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_a_pipeline_killed_in_the_middle_of_the_sweep_goes_on_where_it_was(
    tmp_path: Path,
) -> None:
    import mlflow

    # One fine-tune at a time; the second begins while the first is stored, and is long enough to be
    # killed in its middle after that.
    sweep = checkouts.parameters(tmp_path)["sweep"]
    sweep["space"]["epochs"] = [75]
    root = checkouts.make(
        tmp_path / "checkout", sweep=sweep, compute={"slots": 1, "checkpoint_seconds": 0.05}
    )
    ran = start(root)
    assert ran.stderr is not None
    for line in ran.stderr:
        if "ft-000" in line and "held-out in" in line:
            break
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any((root / ".cache/soup/runs").glob("*/state.safetensors")):
            break
        time.sleep(0.02)
    ran.send_signal(signal.SIGKILL)
    ran.wait()
    gone = time.monotonic() + 60
    while children_of(root) and time.monotonic() < gone:
        time.sleep(0.1)
    left = children_of(root)  # Prefect's temporary server ends as well
    assert not left, [command(pid) for pid in left]

    store = f"sqlite:///{root}/mlflow.db"
    client = mlflow.MlflowClient(store, store)
    experiment = client.get_experiment_by_name("tiny").experiment_id
    before = {r.info.run_id: r for r in client.search_runs([experiment])}
    kept = [r for r in before.values() if r.info.status == "FINISHED"]
    assert [r.info.run_name for r in kept] == ["ft-000"]
    cut = next(r for r in before.values() if r.info.run_name == "ft-001")

    again = checkouts.pipeline(root)
    assert again.returncode == 0, again.stderr[-3000:]
    assert "finished before" in again.stderr
    after = client.search_runs([experiment], "tags.`soup.kind` = 'ingredient'")
    assert sorted(r.info.run_name for r in after) == ["ft-000", "ft-001", "ft-002", "probe"]
    assert all(r.info.status == "FINISHED" for r in after)
    same = client.get_run(kept[0].info.run_id)
    assert same.info.end_time == kept[0].info.end_time
    # The interrupted one went on in its own run, from its state and not from its first step.
    steps = [m.step for m in client.get_metric_history(cut.info.run_id, "train/loss")]
    assert steps.count(10) == 1
    assert steps[-1] == max(steps)
    assert len(client.search_logged_models([experiment])) == 5
    assert not list((root / ".cache/soup/runs").glob("*/"))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_pipeline_in_good_order(tmp_path: Path, number: signal.Signals) -> None:
    import mlflow

    sweep = checkouts.parameters(tmp_path)["sweep"]
    sweep["space"]["epochs"] = [2000]
    compute = {"slots": 1, "checkpoint_seconds": 3600}
    root = checkouts.make(tmp_path / "checkout", sweep=sweep, compute=compute)
    ran = start(root)
    store = f"sqlite:///{root}/mlflow.db"
    client = mlflow.MlflowClient(store, store)
    states = (root / ".cache/soup/runs").glob
    deadline = time.monotonic() + 200
    cut = None
    while not cut and time.monotonic() < deadline:
        time.sleep(1)
        found = client.get_experiment_by_name("tiny")
        runs = client.search_runs([found.experiment_id]) if found else []
        cut = next((r for r in runs if "train/loss" in r.data.metrics), None)
    assert cut is not None
    ran.send_signal(number)  # as a worker does, and as `kill` does
    _, said = ran.communicate(timeout=100)
    assert ran.returncode == 128 + number
    assert f"{number.name}: stopping; started again it goes on where it was" in said
    assert "Traceback" not in said
    assert len([*states("*/state.safetensors")]) == 1  # which its interval had not asked for
    gone = time.monotonic() + 60
    while children_of(root) and time.monotonic() < gone:
        time.sleep(0.1)
    assert not [command(pid) for pid in children_of(root)]
    assert client.get_run(cut.info.run_id).info.status == "KILLED"
    assert client.get_run(cut.data.tags["mlflow.parentRunId"]).info.status == "KILLED"


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def test_a_fine_tune_that_diverges_is_marked_failed_and_the_sweep_goes_on(tmp_path: Path) -> None:
    import mlflow

    sweep = checkouts.parameters(tmp_path)["sweep"]
    sweep |= {"method": "grid", "runs": 2, "clip": 1e30}
    sweep["space"] |= {"lr": [1e-3, 1e30], "epochs": [3]}
    root = checkouts.make(tmp_path / "checkout", sweep=sweep)
    ran = checkouts.pipeline(root)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "failed: the loss became" in ran.stderr
    record = json.loads((root / "out/tiny/finetune.json").read_text())
    assert set(record["runs"]) == {"probe", "ft-000"}
    assert "at step" in record["failed"]["ft-001"]
    store = f"sqlite:///{root}/mlflow.db"
    client = mlflow.MlflowClient(store, store)
    experiment = client.get_experiment_by_name("tiny").experiment_id
    (lost,) = client.search_runs([experiment], "attributes.status = 'FAILED'")
    assert lost.data.tags["soup.reason"] == record["failed"]["ft-001"]
    assert "ft-001" in (root / "out/tiny/report.html").read_text()

    sweep["space"] |= {"lr": [1e30, 1e29]}
    checkouts.write(root, sweep=sweep)
    none = checkouts.pipeline(root)
    assert none.returncode == 1
    assert "all 2 fine-tunes failed" in none.stderr
    assert "lower sweep.space.lr" in none.stderr
    assert "Traceback" not in none.stderr
