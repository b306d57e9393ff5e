"""The faults: each injects itself into a trial, starts again, and looks at what became of it."""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate

from tests.faults.ground import COMPUTE, SWEEP, Ground, Trial, alive, catches
from tests.servers import PoolWorker, Server, running
from tests.waiting import until


@dataclass(frozen=True)
class Found:
    """What became of a trial: how often the fault was injected, and finished ingredients."""

    injected: int
    lost: int
    redone: int


@dataclass
class Course:
    """An undisturbed run: how long it takes, in seconds, and the bytes of its soup."""

    seconds: float
    soup: bytes

    @staticmethod
    def of(ground: Ground) -> "Course":
        trial = ground.trial()
        begun = time.monotonic()
        code = trial.run()
        assert code == 0, trial.log.read_text()[-3000:]
        trial.look()
        trial.whole()
        return Course(time.monotonic() - begun, trial.soup())


def completed(trial: Trial, course: Course, injected: int) -> Found:
    """Start again, until what was damaged is made anew; everything is there, and the soup's bytes
    are those of a run that nothing disturbed.

    Raises:
        AssertionError: not so.
    """
    trial.look()
    code = trial.run()
    assert code == 0, (code, trial.log.read_text()[-3000:])
    trial.look()
    trial.whole()
    assert trial.soup() == course.soup, "another soup"
    return Found(injected, trial.lost, trial.redone)


def flow_killed(
    ground: Ground, course: Course, rng: random.Random, kills: int, stages: Any = SWEEP
) -> Found:
    """kill -9 of the flow, at random moments of its course."""
    trial = ground.trial(stages)
    hit = 0
    for _ in range(kills):
        pid = trial.start()
        time.sleep(rng.uniform(0, course.seconds))
        hit += trial.kill(pid) == -signal.SIGKILL  # not if it was done before
        trial.look()
    return completed(trial, course, hit)


def flow_stopped(ground: Ground, course: Course, rng: random.Random, kills: int) -> Found:
    """SIGTERM to the flow, at random moments of its course."""
    trial = ground.trial()
    hit = 0
    for _ in range(kills):
        pid = trial.start()
        until(lambda pid=pid: catches(pid, signal.SIGTERM), "the flow to begin", every=0.01)
        time.sleep(rng.uniform(0, course.seconds))
        code = trial.kill(pid, signal.SIGTERM)
        assert code in (0, 128 + signal.SIGTERM), (code, trial.log.read_text()[-2000:])
        hit += code != 0
        trial.look()
    return completed(trial, course, hit)


def fine_tunes_killed(ground: Ground, course: Course, rng: random.Random, kills: int) -> Found:
    """kill -9 of fine-tunes' processes, one in its middle and others at random moments, while the
    flow goes on.
    """
    trial = ground.trial()
    ground.gate.close(step=12)
    pid = trial.start()
    os.kill(ground.gate.arrival().pid, signal.SIGKILL)
    ground.gate.open()
    hit = 1
    with contextlib.suppress(ChildProcessError):
        while hit < kills and alive(pid):
            time.sleep(rng.uniform(0, course.seconds / 12))
            under_way = trial.warm.fine_tunes()
            if under_way:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(under_way), signal.SIGKILL)
                    hit += 1
    code = trial.wait(pid)
    # A fine-tune that was killed again and again is left out, and made when it is started again.
    assert code == 0, trial.log.read_text()[-3000:]
    return completed(trial, course, hit)


def worker_killed(ground: Ground, course: Course, rng: random.Random, kills: int) -> Found:
    """kill -9 of the worker of a work pool, while its jobs and the sweep go on; another comes."""
    pool = f"pool-{rng.random()}"
    with SyncPrefectClient(ground.prefect.api) as client:
        client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    runner = {"kind": "pool", "pool": pool}
    trial = ground.trial(compute=COMPUTE | {"runner": runner})
    worker = PoolWorker(trial.root, pool, ground.prefect.api, trial.root / "worker")
    with running(worker):
        pid = trial.start()
        for _ in range(kills):
            time.sleep(rng.uniform(2, 15))  # its jobs begin in seconds, and end in milliseconds
            worker.kill_alone()
            worker.start()
        code = trial.wait(pid)
        assert code == 0, trial.log.read_text()[-3000:]
        return completed(trial, course, kills)


def server_away(
    ground: Ground, course: Course, rng: random.Random, server: Server, seconds: float
) -> Found:
    """kill -9 of a server in the middle of a flow, which waits until it is back."""
    trial = ground.trial()
    pid = trial.start()
    time.sleep(rng.uniform(0.1 * course.seconds, 0.7 * course.seconds))
    trial.look()  # before, for the store may be what goes away
    server.kill()
    time.sleep(seconds)
    server.start()
    server.ready()
    code = trial.wait(pid)
    if seconds <= 30:
        assert code == 0, (code, trial.log.read_text()[-3000:])
    return completed(trial, course, 1)


def damaged(
    ground: Ground, course: Course, rng: random.Random, flipped: bool, swapped: bool
) -> Found:
    """An ingredient's weights with a byte flipped, those of two exchanged, or both: named, refused,
    and made anew, alone.
    """
    trial = ground.trial(tuple(s for s in SWEEP if s != "cook"))
    assert trial.run() == 0, trial.log.read_text()[-3000:]
    trial.look()
    weights = sorted((trial.root / "mlruns").rglob("model.safetensors"))
    harmed = rng.sample(weights, flipped + 2 * swapped)
    if swapped:
        one, other = (path.read_bytes() for path in harmed[:2])
        assert one != other
        for path, content in zip(harmed[:2], (other, one), strict=True):
            path.write_bytes(content)
    if flipped:
        content = harmed[-1].read_bytes()
        place = rng.randrange(len(content))
        harmed[-1].write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    trial.stages = SWEEP
    assert trial.run() == 2
    said = trial.log.read_text()
    for path in harmed:
        assert f"{path.parent.parent.name}/artifacts/model.safetensors is not what was" in said, (
            said
        )
    # Only what was harmed may be made anew.
    trial.look()
    assert trial.lost == len(harmed), trial.lost
    trial.lost = 0
    return completed(trial, course, len(harmed))


def two_at_once(ground: Ground, course: Course, rng: random.Random) -> Found:
    """Two pipelines on one store, begun at nearly the same time."""
    trial = ground.trial()
    first = trial.start()
    time.sleep(rng.uniform(0, course.seconds / 2))
    second = trial.start()
    codes = trial.wait(first), trial.wait(second)
    assert codes == (0, 0), trial.log.read_text()[-3000:]
    return completed(trial, course, 1)


def clock_jumped(
    ground: Ground, course: Course, rng: random.Random, jumps: int, clock: Path
) -> Found:
    """The clock jumps back and forth by hours while a flow goes on (see `CLOCK`)."""
    trial = ground.trial()
    pid = trial.start()
    for _ in range(jumps):
        time.sleep(course.seconds / jumps)
        _set(clock, f"{rng.choice('+-')}{rng.randint(1, 48)}h")
    code = trial.wait(pid)
    _set(clock, "+0")
    assert code == 0, trial.log.read_text()[-3000:]
    return completed(trial, course, jumps)


def _set(clock: Path, ahead: str) -> None:
    """At once: every process reads the file, each time it looks at the clock."""
    new = clock.with_suffix(".new")
    new.write_text(f"{ahead}\n")
    new.replace(clock)


def faked_clock(clock: Path) -> dict[str, str] | None:
    """The environment of a process whose clock a file moves; None without libfaketime."""
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not libraries:
        return None
    _set(clock, "+0")
    return {
        "LD_PRELOAD": str(libraries[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@contextlib.contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    """A disk in memory, mounted at the folder."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def disk_full(ground: Ground, course: Course, rng: random.Random, name: str) -> Found:
    """A disk that fills at a random place of the flow's course, and is given room again."""
    with small_disk(ground.folder / name, 24) as disk:
        trial = ground.trial(root=disk)
        stuffing = disk / "stuffing"
        pid = trial.start()
        time.sleep(rng.uniform(0.1, 0.6) * course.seconds)
        left = os.statvfs(disk)
        room = left.f_bavail * left.f_frsize
        with contextlib.suppress(OSError):  # the flow took some of it meanwhile: as full as can be
            stuffing.write_bytes(bytes(max(0, room - rng.randrange(4096, 200_000))))
        code = trial.wait(pid)
        said = trial.log.read_text()
        # The soup may be done before the room is used up.
        assert code == 0 or "the disk is full" in said, (code, said[-3000:])
        stuffing.unlink()
        return completed(trial, course, int(code != 0))
