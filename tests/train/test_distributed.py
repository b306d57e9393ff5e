"""Two ranks of one fine-tune, by gloo on the CPU, against one that does it alone."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from soup.evaluation import prediction_file
from soup.train.distributed import UnknownJob, read, write
from soup.train.finetune import Job, Results, finished
from soup.train.worker_process import Crashed, Failed, run
from soup.weights.checkpoint import Checkpoint
from tests.gates import gated
from tests.worlds import job, put, silent, tiny, world

TWO = ("cpu", "cpu")
REPO = Path(__file__).parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    world(tmp_path, test=1)
    return tmp_path


def ran(given: Job) -> tuple[Results, dict[int, float]]:
    """The results, and the loss at each step that is logged."""
    losses: dict[int, float] = {}

    def log(step: int, metrics: Mapping[str, float]) -> None:
        if "train/loss" in metrics:
            losses[step] = metrics["train/loss"]

    results = run(given, log)
    assert isinstance(results, dict)
    return results, losses


PLAIN: dict[str, Any] = {"batch_size": 6}
CASES: dict[str, dict[str, Any]] = {
    "plain": PLAIN,
    "parts, clipped, averaged, shares of 3 and 4": {
        "batch_size": 7,
        "accumulate": 2,
        "clip": 0.3,
        "ema": (0.9,),
        "swa_start": 0.4,
    },
    "a sharded model": {"batch_size": 6, "sharding": "full", "clip": 0.3},
    "a sharded model in parts": {"batch_size": 8, "sharding": "full", "accumulate": 2},
    "sharpness-aware": {"batch_size": 7, "sam": 0.05},
    "frozen BatchNorm, shares of 3 and 4": {"batch_size": 7, "frozen_batchnorm": True},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_ranks_do_what_one_does(root: Path, case: str) -> None:
    options = dict(CASES[case])
    sam = options.pop("sam", 0.0)
    if "frozen_batchnorm" in options:
        put(root / "start", tiny(norm_layer="batchnorm2d"))
    alone, curve = ran(job(root, {**options, "folder": root / "one"}, sam=sam))
    shared, their_curve = ran(job(root, {**options, "devices": TWO}, sam=sam))
    assert [*shared] == [*alone]
    assert their_curve == pytest.approx(curve, rel=1e-4)
    start = Checkpoint(root / "start" / "model.safetensors")
    for name, result in shared.items():
        assert result.errors == alone[name].errors
        weights, expected = Checkpoint(result.weights), Checkpoint(alone[name].weights)
        for tensor, value in expected.items():
            torch.testing.assert_close(weights[tensor], value, rtol=1e-3, atol=1e-5)
        assert any(not torch.equal(start[n], t) for n, t in weights.items())
        answers = torch.from_numpy(prediction_file.read(result.predictions))
        theirs = torch.from_numpy(prediction_file.read(alone[name].predictions))
        torch.testing.assert_close(answers, theirs, rtol=1e-2, atol=2e-3)
    assert not multiprocessing.active_children()


@pytest.mark.slow
@pytest.mark.parametrize(("sharding", "victim"), [("none", 1), ("full", 0)])
def test_a_rank_that_is_killed_ends_the_run_which_goes_on_when_it_is_run_again(
    root: Path, sharding: str, victim: int
) -> None:
    options = {"batch_size": 2, "devices": TWO, "sharding": sharding}
    through, curve = ran(job(root, {**options, "folder": root / "through"}))
    options["checkpoint_seconds"] = 0.0
    given = job(root, options)

    def kill(step: int, metrics: Mapping[str, float]) -> None:
        if step < 20:
            return
        pids = {child.name: child.pid for child in multiprocessing.active_children()}
        assert [*sorted(pids)] == ["rank 0", "rank 1"]
        pid = pids[f"rank {victim}"]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    killed = rf"^the process of rank {victim} was killed \(signal 9\)"
    with gated(given, step=22) as held, pytest.raises(Crashed, match=killed):
        run(held, kill)
    assert not multiprocessing.active_children()
    assert int(Checkpoint(given.folder / "state.safetensors").metadata["step"]) > 10
    # On one device from here on: the state is whole, however many ranks kept it.
    resumed, rest = ran(job(root, {**options, "devices": ("cpu",), "sharding": "none"}))
    assert 10 not in rest
    assert rest == pytest.approx({step: curve[step] for step in rest}, rel=1e-3)
    weights, expected = Checkpoint(resumed[""].weights), Checkpoint(through[""].weights)
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_one_rank_that_diverges_fails_the_run_and_not_by_a_timeout(root: Path) -> None:
    with pytest.raises(
        Failed,
        match=r"^the loss became (nan|inf) at step \d+ of 6; lower sweep.space.lr or sweep.clip$",
    ):
        run(job(root, {"clip": 1e30, "devices": TWO}, lr=1e30), silent)


@pytest.mark.slow
def test_statistics_of_a_batch_over_ranks_are_refused_on_the_cpu(root: Path) -> None:
    put(root / "start", tiny(norm_layer="batchnorm2d"))
    with pytest.raises(Failed, match=r"statistics over several ranks on GPUs only.*GroupNorm"):
        run(job(root, {"devices": TWO}), silent)


@pytest.mark.slow
def test_ranks_started_by_hand_leave_what_the_pipeline_finds_finished(root: Path) -> None:
    given = job(root, {"batch_size": 6, "devices": TWO})
    shared, _ = ran(replace(given, folder=root / "piped"))
    write(given, root / "job.json")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    start = [*command, "2", "-m", "soup.train.distributed", str(root / "job.json")]
    done = subprocess.run(start, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("train/loss") == 1
    found = finished(given)
    assert found is not None
    assert found[""].weights.read_bytes() == shared[""].weights.read_bytes()


def test_a_job_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    world(tmp_path, test=1)
    given = job(tmp_path, {"devices": TWO, "ema": (0.9,), "swa_start": 0.3}, mixup=0.2)
    write(given, tmp_path / "job.json")
    assert read(tmp_path / "job.json") == given


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '{"start": 3}', '{"configuration": {}, "sweep": {}}']
)
def test_a_file_that_is_no_job_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "job.json").write_text(text)
    with pytest.raises(
        UnknownJob, match=r"job.json describes no fine-tune: .*; one of an earlier version"
    ):
        read(tmp_path / "job.json")
