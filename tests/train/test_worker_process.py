"""A fine-tune in a process of its own: what it gives back, and every way in which it can end."""

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import pytest

from soup.evaluation.heldout import Result
from soup.train import worker_process
from soup.train.finetune import FINAL_WEIGHTS, Results, finetune
from soup.train.run_state import Stopped
from soup.train.worker_process import Crashed, Failed, run, stop
from tests.gates import Gate, gate_folder, gated
from tests.waiting import PATIENCE, until
from tests.worlds import job, silent, world


def only(results: Results | float) -> Result:
    """The result of a fine-tune without averages."""
    assert isinstance(results, dict)
    return results[FINAL_WEIGHTS]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    world(tmp_path, test=1)
    return tmp_path


def test_it_gives_back_what_it_would_give_here(root: Path) -> None:
    seen: list[tuple[int, dict[str, float]]] = []
    expected: list[tuple[int, dict[str, float]]] = []
    here = job(root, {"folder": root / "here"})
    there = job(root, {"folder": root / "there"})
    own = only(finetune(here, lambda *entry: expected.append(entry)))
    for _ in range(2):
        seen.clear()
        result = only(run(there, lambda *entry: seen.append(entry)))
    assert result.weights.read_bytes() == own.weights.read_bytes()
    assert (result.errors, result.examples) == (own.errors, own.examples)
    assert result.folder == root / "there" / "ingredient"
    assert seen == expected
    assert not multiprocessing.active_children()


def test_images_read_from_files_are_decoded_by_workers_of_its_own(root: Path) -> None:
    result = only(run(job(root, {"cache_gib": 1e-9}, epochs=1), silent))
    assert result.weights.is_file()


def test_a_killed_one_says_so_and_goes_on_when_it_is_run_again(root: Path) -> None:
    options = {"batch_size": 2, "checkpoint_seconds": 0.0}
    given = job(root, options, augment="rand-m6-n1")

    def kill(step: int, metrics: dict[str, float]) -> None:
        (child,) = multiprocessing.active_children()
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)

    killed = pytest.raises(Crashed, match=r"its process was killed \(signal 9\): out of memory")
    with gated(given, step=12) as held, killed:
        run(held, kill)
    assert not (given.folder / "ingredient").exists()
    resumed = only(run(given, silent))
    apart = job(root, {**options, "folder": root / "through"}, augment="rand-m6-n1")
    through = only(run(apart, silent))
    assert resumed.weights.read_bytes() == through.weights.read_bytes()


def test_one_that_is_to_stop_keeps_its_state_and_goes_on_from_there(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "PATIENCE", PATIENCE)
    given = job(root, {"batch_size": 2, "checkpoint_seconds": 3600.0})
    kept: list[int] = []

    def halt(step: int, metrics: dict[str, float]) -> None:
        kept.append(step)
        stop()

    try:
        stopped = pytest.raises(Stopped, match=r"^stopped at step 10, which is kept$")
        with gated(given, step=10) as held, stopped:
            run(held, halt)
        with pytest.raises(Stopped, match="before it began"):
            run(given, silent)
    finally:
        stop(False)
    assert not multiprocessing.active_children()
    steps: list[int] = []
    resumed = only(run(given, lambda step, _: steps.append(step)))
    assert kept[0] not in steps
    through = only(run(job(root, {"batch_size": 2, "folder": root / "through"}), silent))
    assert resumed.weights.read_bytes() == through.weights.read_bytes()


def test_one_that_is_ended_by_hand_is_tried_again(root: Path) -> None:
    def end(step: int, metrics: dict[str, float]) -> None:
        (child,) = multiprocessing.active_children()
        child.terminate()

    given = job(root, {"batch_size": 2})
    with gated(given, step=10) as held, pytest.raises(Crashed, match="stopped at step 10"):
        run(held, end)


def test_a_diverging_one_fails_with_the_step(root: Path) -> None:
    with pytest.raises(
        Failed,
        match=r"^the loss became (nan|inf) at step \d+ of 6; lower sweep.space.lr or sweep.clip$",
    ) as caught:
        run(job(root, {"clip": 1e30}, lr=1e30), silent)
    assert not isinstance(caught.value, Crashed)


def test_one_that_raises_fails_with_the_reason(root: Path) -> None:
    given = job(root, {})
    (given.start / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(Failed, match=r"^CheckpointError: .*model.safetensors: not a readable"):
        run(given, silent)


def test_an_error_of_the_log_ends_the_process(root: Path) -> None:
    def broken(step: int, metrics: dict[str, float]) -> None:
        raise ConnectionError("no tracking server")

    with pytest.raises(ConnectionError, match="no tracking server"):
        run(job(root, {}, epochs=5000), broken)
    until(lambda: not multiprocessing.active_children(), "the end of the process")


@pytest.mark.parametrize(
    ("device", "order"), [("cpu", ["freed", "ended"]), ("cuda:0", ["ended", "freed", "ended"])]
)
def test_a_cpu_is_free_with_the_results_and_a_gpu_when_its_process_has_ended(
    root: Path, monkeypatch: pytest.MonkeyPatch, device: str, order: list[str]
) -> None:
    told: list[str] = []
    monkeypatch.setattr(worker_process, "_start", lambda _: (SimpleNamespace(send=str), None))
    monkeypatch.setattr(worker_process, "_outcome", lambda *_: {})
    monkeypatch.setattr(worker_process, "_end", lambda _: told.append("ended"))
    given = job(root, {"devices": (device,)})
    assert run(given, silent, freed=lambda: told.append("freed")) == {}
    assert told == order


def waiting() -> int:
    """The process id of the only child."""
    (child,) = multiprocessing.active_children()
    assert child.pid is not None
    return child.pid


def test_its_process_is_started_while_it_waits_for_devices(root: Path) -> None:
    seen: list[int] = []

    def lend() -> tuple[str, ...]:
        seen.append(waiting())
        return ("cpu",)

    given = job(root, {"devices": ("cuda:7",)})
    assert only(run(given, silent, begun=lambda: seen.append(waiting()), lend=lend)).examples == 9
    assert seen[0] == seen[1]


def test_a_process_that_is_killed_while_it_waits_costs_nothing(root: Path) -> None:
    killed: list[int] = []

    def lend() -> tuple[str, ...]:
        killed.append(waiting())
        os.kill(killed[0], signal.SIGKILL)
        until(lambda: not multiprocessing.active_children(), "its end")
        return ("cpu",)

    assert only(run(job(root, {}), silent, lend=lend)).examples == 9


def test_one_that_is_killed_before_it_reads_its_job_is_tried_again(root: Path) -> None:
    def lend() -> tuple[str, ...]:
        os.kill(waiting(), signal.SIGSTOP)
        return ("cpu",)

    killed = pytest.raises(Crashed, match=r"its process was killed \(signal 9\)")
    with killed:
        run(job(root, {}), silent, begun=lambda: os.kill(waiting(), signal.SIGKILL), lend=lend)


def test_one_that_waits_for_devices_ends_with_a_stop_and_with_an_error(root: Path) -> None:
    def stopped() -> tuple[str, ...]:
        stop()
        return ("cpu",)

    def fails() -> tuple[str, ...]:
        raise RuntimeError("no devices")

    try:
        with pytest.raises(Stopped, match="before it began"):
            run(job(root, {}), silent, lend=stopped)
    finally:
        stop(False)
    assert not multiprocessing.active_children()
    with pytest.raises(RuntimeError, match="no devices"):
        run(job(root, {}), silent, lend=fails)
    assert not multiprocessing.active_children()


def test_it_works_while_its_begin_is_told(root: Path) -> None:
    given = job(root, {})

    def begun() -> None:
        until((given.folder / "result.json").exists, "its results")

    assert only(run(given, silent, begun=begun)).examples == 9


def test_an_error_when_its_begin_is_told_ends_the_process(root: Path) -> None:
    def broken() -> None:
        assert multiprocessing.active_children()
        raise ConnectionError("no tracking server")

    def early(step: int, metrics: dict[str, float]) -> None:
        raise AssertionError("a step is told before the begin")

    with pytest.raises(ConnectionError, match="no tracking server"):
        run(job(root, {}, epochs=5000), early, begun=broken)
    until(lambda: not multiprocessing.active_children(), "the end of the process")


def parent_of_a_stuck_one(root: Path, devices: tuple[str, ...], tell: Connection) -> None:
    def watch() -> None:
        until(lambda: len(multiprocessing.active_children()) == len(devices), "its processes")
        tell.send([child.pid for child in multiprocessing.active_children()])

    threading.Thread(target=watch).start()
    with gated(job(root, {"devices": devices}), step=1) as given:
        run(given, silent)


def running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # it may end while it is read
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
@pytest.mark.parametrize(
    "devices", [("cpu",), pytest.param(("cpu", "cpu"), marks=pytest.mark.slow)]
)
def test_it_ends_with_its_parent_even_if_that_is_killed(
    root: Path, devices: tuple[str, ...]
) -> None:
    # It is held at a gate, so that it cannot learn of its parent's end from a log.
    gate = Gate(gate_folder(job(root, {})))
    ours, theirs = multiprocessing.Pipe(duplex=False)
    # From the warm fork server, for it has the imports.
    context = multiprocessing.get_context("forkserver")
    parent = context.Process(target=parent_of_a_stuck_one, args=(root, devices, theirs))
    parent.start()
    try:
        children = ours.recv()
        assert gate.arrival().pid in children
        assert all(map(running, children))
    finally:
        parent.kill()
        parent.join()
    try:
        until(lambda: not any(map(running, children)), "the end of its processes")
    finally:
        for child in filter(running, children):
            os.kill(child, signal.SIGKILL)
