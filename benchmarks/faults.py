"""What survives: faults at random moments of small sweeps, and what was lost and redone.

    .venv/bin/python -m benchmarks.faults --times 60 --into faults.json

Each trial is a project of its own: six real fine-tunes of milliseconds, cooked, in MLflow and under
Prefect. A fault is injected, what finished is counted, and it is started again; then every
ingredient must be there once, every file whole, every digest right, and the soup's bytes those of
a run that nothing disturbed. Lost: a finished ingredient that is not found after; redone: one that
is made again. The moments are drawn from a seed. Finished trials are kept in the file, so
that an interrupted table goes on. Warm processes are forked (tests/faults/warm.py), so that
hundreds of kills take minutes.
"""

import argparse
import json
import random
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from tests.faults import injections as faults
from tests.faults.ground import ALL, Ground, ground
from tests.faults.injections import Course, Found
from tests.servers import MlflowServer, PostgresServer, postgres, running
from tests.unreliable import EveryThird, s3


@dataclass
class Place:
    """Where trials are made, and what can be harmed there.

    Attributes:
        clock: the file that moves the clock of processes.
        mlflow, database, s3: what runs and weights are kept in; None: in files of each project.
    """

    ground: Ground
    clock: Path | None = None
    mlflow: MlflowServer | None = None
    database: PostgresServer | None = None
    s3: EveryThird | None = None


@contextmanager
def plain(folder: Path) -> Iterator[Place]:
    with ground(folder) as made:
        yield Place(made)


@contextmanager
def clocked(folder: Path) -> Iterator[Place]:
    clock = folder / "clock"
    faked = faults.faked_clock(clock)
    if faked is None:
        raise SystemExit("libfaketime is not installed: apt-get install faketime")
    with ground(folder, **faked) as made:
        yield Place(made, clock)


@contextmanager
def far(folder: Path) -> Iterator[Place]:
    with postgres() as database, s3("artifacts") as (reach, failing):
        failing.on = False
        on = {"database": database.address, "artifacts": "s3://artifacts/"}
        server = MlflowServer(folder / "mlflow", reach, **on)
        with running(server), ground(folder, MLFLOW_TRACKING_URI=server.address) as made:
            yield Place(made, None, server, database, failing)


Inject = Callable[[Place, Course, random.Random], Found]
Injected = Callable[[random.Random], Found]
KILLS = 4  # in one trial


def flow_killed(place: Place, course: Course, draws: random.Random) -> Found:
    return faults.flow_killed(place.ground, course, draws, KILLS)


def flow_killed_anywhere(place: Place, course: Course, draws: random.Random) -> Found:
    return faults.flow_killed(place.ground, course, draws, KILLS, ALL)


def away(kind: str, seconds: float) -> Inject:
    def inject(place: Place, course: Course, draws: random.Random) -> Found:
        server = place.ground.prefect if kind == "prefect" else getattr(place, kind)
        return faults.server_away(place.ground, course, draws, server, seconds)

    return inject


def clock_jumped(place: Place, course: Course, draws: random.Random) -> Found:
    assert place.clock is not None
    return faults.clock_jumped(place.ground, course, draws, 6, place.clock)


def s3_failing(place: Place, course: Course, _: random.Random) -> Found:
    assert place.s3 is not None
    trial, before = place.ground.trial(), place.s3.failed
    place.s3.on = True
    try:
        assert trial.run() == 0, trial.log.read_text()[-3000:]
        return faults.completed(trial, course, place.s3.failed - before)
    finally:
        place.s3.on = False


PLAIN: dict[str, tuple[float, Inject]] = {  # share of --times, and one trial
    "kill -9 of the flow": (0.7, flow_killed),
    "kill -9 of a fine-tune": (
        1.0,
        lambda p, c, r: faults.fine_tunes_killed(p.ground, c, r, 2 * KILLS),
    ),
    "kill -9 of the flow, any stage": (0.1, flow_killed_anywhere),
    "SIGTERM": (0.1, lambda p, c, r: faults.flow_stopped(p.ground, c, r, 2)),
    "a byte of an ingredient flipped": (
        0.05,
        lambda p, c, r: faults.damaged(p.ground, c, r, True, False),
    ),
    "weights of two exchanged": (0.05, lambda p, c, r: faults.damaged(p.ground, c, r, False, True)),
    "two pipelines on one store": (0.05, lambda p, c, r: faults.two_at_once(p.ground, c, r)),
    "a full disk": (
        0.05,
        lambda p, c, r: faults.disk_full(p.ground, c, r, f"disk-{r.random()}"),
    ),
    "kill -9 of Prefect, back in 5 s": (0.05, away("prefect", 5)),
    "Prefect away for 30 s": (0.03, away("prefect", 30)),
    "kill -9 of a pool's worker": (
        0.05,
        lambda p, c, r: faults.worker_killed(p.ground, c, r, KILLS),
    ),
}
CLOCK: dict[str, tuple[float, Inject]] = {"a clock that jumps": (0.1, clock_jumped)}
FAR: dict[str, tuple[float, Inject]] = {
    "kill -9 of MLflow, back in 2 s": (0.05, away("mlflow", 2)),
    "MLflow away for 30 s": (0.03, away("mlflow", 30)),
    "PostgreSQL away for 30 s": (0.03, away("database", 30)),
    "S3 fails every third request": (1.0, s3_failing),
}
PLACES = ((plain, PLAIN), (clocked, CLOCK), (far, FAR))


def once(name: str, inject: Callable[[random.Random], Found], rows: list[Any], kept: Path) -> None:
    """Inject, and keep what became of it at once."""
    number = sum(row["fault"] == name for row in rows)
    draws = random.Random(zlib.crc32(f"{name} {number}".encode()))
    begun = time.monotonic()
    row: dict[str, Any] = {"fault": name, "injected": 1, "completed": 0, "lost": 0, "redone": 0}
    try:
        row |= asdict(inject(draws)) | {"completed": 1}
    except AssertionError as error:
        row["error"] = str(error)[-2000:]
    row["seconds"] = round(time.monotonic() - begun, 1)
    rows.append(row)
    kept.write_text(json.dumps(rows, indent=1))
    print(row, flush=True)


def in_turn(faults: dict[str, tuple[int, Injected]], rows: list[Any], kept: Path) -> None:
    """One trial of each fault after another, until each was injected as often as is wanted."""
    tried: Counter[str] = Counter()
    left = dict(faults)
    while left:
        for name, (wanted, inject) in [*left.items()]:
            done = sum(row["injected"] for row in rows if row["fault"] == name)
            if done >= wanted or tried[name] >= wanted:  # or it hits too seldom
                del left[name]
            else:
                tried[name] += 1
                once(name, inject, rows, kept)


def table(rows: list[Any]) -> str:
    """Fault, injected, trials, completed, lost, redone."""
    frame = pd.DataFrame(rows)
    frame["trials"] = 1
    columns = ["injected", "trials", "completed", "lost", "redone"]
    shown = frame.groupby("fault", sort=False)[columns].sum()
    return shown.to_string()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=60, help="kills of each kind, about")
    parser.add_argument("--into", type=Path, default=Path("faults.json"), help="finished trials")
    parser.add_argument("--only", help="faults whose name holds this")
    arguments = parser.parse_args()
    rows = json.loads(arguments.into.read_text()) if arguments.into.exists() else []

    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as name:
        for number, (grounds, own) in enumerate(PLACES):
            asked = {n: each for n, each in own.items() if (arguments.only or "") in n}
            folder = Path(name) / f"{number}"
            folder.mkdir()
            if not asked:
                continue
            with grounds(folder) as place:
                course = Course.of(place.ground)
                print(f"undisturbed: {course.seconds:.1f} s", flush=True)
                chosen = {
                    n: (max(1, round(share * arguments.times)), partial(one, place, course))
                    for n, (share, one) in asked.items()
                }
                in_turn(chosen, rows, arguments.into)
    print(table(rows))


if __name__ == "__main__":
    main()
