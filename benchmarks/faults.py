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
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from tests.faults import injections as faults
from tests.faults.ground import Ground, ground
from tests.faults.injections import Course, Found
from tests.servers import MlflowServer, Server, postgres, running
from tests.unreliable import EveryThird, s3

Inject = Callable[[Ground, Course, random.Random], Found]
Injected = Callable[[random.Random], Found]
KILLS = 4  # in one trial
PLAIN: dict[str, tuple[float, Inject]] = {  # share of --times, and one trial
    "kill -9 of the flow": (0.7, lambda g, c, r: faults.flow_killed(g, c, r, KILLS)),
    "kill -9 of a fine-tune": (1.0, lambda g, c, r: faults.fine_tunes_killed(g, c, r, 2 * KILLS)),
    "kill -9 of the flow, any stage": (
        0.1,
        lambda g, c, r: faults.flow_killed(g, c, r, KILLS, faults.ALL),
    ),
    "SIGTERM": (0.1, lambda g, c, r: faults.flow_stopped(g, c, r, 2)),
    "a byte of an ingredient flipped": (0.05, lambda g, c, r: faults.damaged(g, c, r, False)),
    "weights of two exchanged": (0.05, lambda g, c, r: faults.damaged(g, c, r, True)),
    "two pipelines on one store": (0.05, faults.two_at_once),
    "a full disk": (0.05, lambda g, c, r: faults.disk_full(g, c, r, f"disk-{r.random()}")),
    "kill -9 of Prefect, back in 5 s": (
        0.05,
        lambda g, c, r: faults.server_away(g, c, r, g.prefect, 5),
    ),
    "kill -9 of a pool's worker": (0.05, lambda g, c, r: faults.worker_killed(g, c, r, KILLS)),
    "Prefect away for 30 s": (0.03, lambda g, c, r: faults.server_away(g, c, r, g.prefect, 30)),
}


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

    def tried(faults: dict[str, tuple[float, Injected]]) -> None:
        """Of each a share of `times`."""
        asked = {n: each for n, each in faults.items() if (arguments.only or "") in n}
        times = {n: max(1, round(share * arguments.times)) for n, (share, _) in asked.items()}
        in_turn({n: (times[n], one) for n, (_, one) in asked.items()}, rows, arguments.into)

    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with ground(_new(folder / "plain")) as plain:
            course = Course.of(plain)
            print(f"undisturbed: {course.seconds:.1f} s", flush=True)
            tried(
                {name: (share, partial(one, plain, course)) for name, (share, one) in PLAIN.items()}
            )
        clock = folder / "clock"
        faked = faults.faked_clock(clock)
        if faked:
            with ground(_new(folder / "faked"), **faked) as odd:
                jumped = partial(_clock, odd, Course.of(odd), clock)
                tried({"a clock that jumps": (0.1, jumped)})
        server = MlflowServer(folder / "mlflow")
        with running(server), ground(_new(folder / "served"), **_reach(server)) as served:
            away = partial(_away, served, Course.of(served), server)
            tried({"kill -9 of MLflow, back in 2 s": (0.1, partial(away, 2)),
                   "MLflow away for 30 s": (0.03, partial(away, 30))})  # fmt: skip
        with postgres() as database, s3("artifacts") as (reach, unreliable):
            on = {"database": database.address, "artifacts": "s3://artifacts/"}
            server = MlflowServer(folder / "on-s3", reach, **on)
            with running(server), ground(_new(folder / "on-postgres"), **_reach(server)) as far:
                course = Course.of(far)
                away = partial(_away, far, course, database, 30)
                failing = partial(_failing, far, course, unreliable)
                tried({"PostgreSQL away for 30 s": (0.03, away),
                       "S3 fails every third request": (1.0, failing)})  # fmt: skip
    print(table(rows))


def _away(
    ground: Ground, course: Course, server: Server, seconds: float, draws: random.Random
) -> Found:
    return faults.server_away(ground, course, draws, server, seconds)


def _clock(ground: Ground, course: Course, clock: Path, draws: random.Random) -> Found:
    return faults.clock_jumped(ground, course, draws, 6, clock)


def _failing(ground: Ground, course: Course, s3: EveryThird, _: random.Random) -> Found:
    trial, before = ground.trial(), s3.failed
    assert trial.run() == 0, trial.log.read_text()[-3000:]
    return faults.completed(trial, course, s3.failed - before)


def _reach(server: Server) -> dict[str, str]:
    return {"MLFLOW_TRACKING_URI": server.address}


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
