"""What orchestration costs: the wall of a sweep, less the time that its fine-tunes take.

    .venv/bin/python -m benchmarks.overhead --runs 8 --epochs 40
    .venv/bin/python -m benchmarks.overhead --runs 72 --epochs 40

With MLFLOW_TRACKING_URI and PREFECT_API_URL set (`. .services/env`) it is that of the services,
else of a temporary Prefect server and SQLite. Slots times wall is shared out: what fine-tunes take
themselves, in their processes, and where the rest goes. All figures are of one run, so that a busy
machine slows all of them; the processor time of the pipeline's own process is told beside them.
"""

import argparse
import importlib
import json
import os
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any


def timed_main(pipe: Any) -> None:
    """The entry of a fine-tune's process, which notes when it began and when it was done."""
    from soup.train import worker_process

    plain = worker_process.finetune

    def timed(job: Any, *given: Any, **named: Any) -> Any:
        begun = time.monotonic()
        made = plain(job, *given, **named)
        times = {"begun": begun, "done": time.monotonic()}
        folder = job.folder.parent.parent / "times"
        folder.mkdir(exist_ok=True)
        (folder / f"{job.folder.name}.json").write_text(json.dumps(times))
        return made

    worker_process.finetune = timed
    worker_process._main(pipe)


class Clock:
    """How long calls take, by name, in all threads; calls within calls are counted once."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._within = threading.local()

    def watch(self, owner: Any, method: str, name: str) -> None:
        plain = getattr(owner, method)

        def timed(*given: Any, **named: Any) -> Any:
            if getattr(self._within, "call", False):
                return plain(*given, **named)
            self._within.call, begun = True, time.monotonic()
            try:
                return plain(*given, **named)
            finally:
                self._within.call = False
                self.seconds[name] += time.monotonic() - begun
                self.calls[name] += 1

        setattr(owner, method, timed)


def measure(runs: int, epochs: int, slots: int, folder: Path) -> None:
    from tests import checkouts, worlds

    worlds.world(folder / "data", train=40, test=4)
    worlds.put(folder / "base", worlds.tiny())
    (folder / "base" / "model.safetensors").rename(folder / "base.safetensors")
    for name in ("soup", "flows", "dvc.yaml"):
        (folder / name).symlink_to(checkouts.REPO / name)
    sweep = checkouts.parameters(folder)["sweep"] | {"runs": runs}
    sweep["space"]["epochs"] = [epochs]
    data = {"root": "data", "heldout": {"per_class": 10}}
    experiment = f"overhead-{runs}-{int(time.time())}"
    compute = {"slots": slots}
    checkouts.write(folder, sweep=sweep, data=data, compute=compute, experiment=experiment)
    os.environ["MODELSOUP_ROOT"] = str(folder)

    from flows.project import default_params
    from flows.server.temporary import temporary_server
    from flows.stages import STAGES
    from soup.pipeline.sweep import sweep as sweeping
    from soup.pipeline.sweep.ingredient_runs import IngredientRuns
    from soup.tracking import Store
    from soup.train import worker_process
    from soup.train.fork_server import fork_fork_server

    params = default_params()
    fork_fork_server(params.base.library)  # as the command does, before anything is computed
    for name in ("prepare", "base", "probe"):
        STAGES[name].fn(params)
    clock = Clock()
    # Not of __main__, which a fine-tune's process does not have.
    worker_process._main = importlib.import_module("benchmarks.overhead").timed_main
    whole: list[tuple[float, float]] = []
    run = sweeping.Sweep.run

    def one(*given: Any, **named: Any) -> Any:
        begun = time.monotonic()
        made = run(*given, **named)
        whole.append((begun, time.monotonic()))
        return made

    sweeping.Sweep.run = one  # type: ignore[method-assign]
    clock.watch(IngredientRuns, "keep", "keep weights, answers, score in MLflow")
    for method in ("log_steps", "find", "start", "tag", "end"):
        clock.watch(Store, method, f"MLflow: {method}")
    os.chdir(folder)
    with temporary_server():
        begun, used = time.monotonic(), time.process_time()
        STAGES["finetune"](params)
        ended, used = time.monotonic(), time.process_time() - used
    notes = (folder / ".cache/soup/times").glob("*.json")
    times = [json.loads(path.read_text()) for path in notes]
    assert len(times) == runs, f"{len(times)} of {runs} fine-tunes noted their times"
    show(times, slots, (begun, ended), whole, used, clock)


def show(
    times: list[dict[str, float]],
    slots: int,
    wall: tuple[float, float],
    whole: list[tuple[float, float]],
    used: float,
    clock: Clock,
) -> None:
    """Print where slots times wall went.

    Args:
        times: of each fine-tune, when it began and was done in its process.
        wall: when the stage began and ended.
        whole: the same of each `Sweep.run`, which also waits for a slot and stores the results.
        used: processor time of this process, seconds.
    """
    runs, (start, end) = len(times), wall
    begun, done = sorted(t["begun"] for t in times), sorted(t["done"] for t in times)
    training = sum(done) - sum(begun)
    opened, stored = min(first for first, _ in whole), max(last for _, last in whole)
    total = slots * (end - start)
    rows = [
        ("fine-tunes, in their processes", training),
        ("before the first: open the sweep, Prefect's runs", slots * (opened - start)),
        ("before the first: ask MLflow for them, start their processes",
         sum(begun[:slots]) - slots * opened),
        ("from one to the next in a slot", sum(begun[slots:]) - sum(done[:-slots])),
        ("slots without work at the end", slots * done[-1] - sum(done[-slots:])),
        ("after the last: store its results", slots * (stored - done[-1])),
        ("after the last: close the sweep, Prefect's runs", slots * (end - stored)),
    ]  # fmt: skip
    print(
        f"{runs} fine-tunes of {training / runs:.2f} s in {slots} slots: {end - start:.1f} s, "
        f"overhead {1 - training / total:.1%}; {used / runs:.2f} s of processor time of the "
        "pipeline's process for each"
    )
    for name, seconds in rows:
        print(f"  {name:62}{seconds / total:8.2%}{1000 * seconds / runs:10.0f} ms a fine-tune")
    print("  calls, part of the above (log_steps: while they train):")
    for name, seconds in clock.seconds.most_common():
        each = 1000 * seconds / clock.calls[name]
        print(f"    {name:45}{clock.calls[name] / runs:8.1f} a fine-tune, {each:6.0f} ms each")


def main() -> None:
    from benchmarks.machine import machine

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=40, help="their length")
    parser.add_argument("--slots", type=int, default=2)
    arguments = parser.parse_args()
    print(machine())
    where = (os.environ.get("MLFLOW_TRACKING_URI"), os.environ.get("PREFECT_API_URL"))
    print(f"MLflow: {where[0] or 'SQLite'}; Prefect: {where[1] or 'a temporary server'}")
    with tempfile.TemporaryDirectory(prefix="overhead-", ignore_cleanup_errors=True) as name:
        os.environ.setdefault("PREFECT_HOME", f"{name}/.prefect")
        measure(arguments.runs, arguments.epochs, arguments.slots, Path(name))


if __name__ == "__main__":
    main()
