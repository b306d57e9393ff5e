"""Let many clients log to MLflow of `make services`; count lost values and measure the waits.

    .venv/bin/python -m benchmarks.logging_clients                    50 clients for 10 minutes
    .venv/bin/python -m benchmarks.logging_clients --env .services/env    servers that run already

Each client is a thread with its own run. It logs batches (metrics, a parameter and a tag) and
single metrics, and sends a request as soon as the last is answered. MLflow's retries are off, so
that an error is counted instead of hidden in a long wait. At the end, every run is read back; a
value that the server accepted but does not return is lost. The exit code is 1 if a request failed,
a value is lost or p99 is 2 seconds or more.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.machine import REPO, machine

BATCH = 5  # metrics of a batch
TAGS = 20  # tags of a run, written again and again
LIMIT = 2.0  # seconds: the goal for p99


@dataclass
class Outcome:
    """What one client did.

    Attributes:
        seconds: duration of each request, including failed ones.
        errors: reasons of failed requests, shortened, with their counts.
        metrics: accepted values by key; params, tags: the last accepted value by key.
        lost: accepted values that were not there at the end.
    """

    run_id: str = ""
    seconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    metrics: dict[str, set[float]] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    def timed(self, request: Callable[[], object]) -> bool:
        """Whether a request was accepted."""
        begun = time.monotonic()
        try:
            request()
        except Exception as error:  # whatever it is, it is counted
            self.errors[" ".join(str(error).split())[:150]] += 1
            return False
        finally:
            self.seconds.append(time.monotonic() - begun)
        return True


def log(
    uri: str, experiment: str, clients: int, stop: Callable[["Outcome", int], bool]
) -> list[Outcome]:
    """Let clients log at once, each until `stop(its outcome, rounds)`; then read all back.

    A round is two requests: a batch and a metric.
    """
    from mlflow import MlflowClient

    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "120"
    experiment_id = MlflowClient(uri).create_experiment(experiment)
    outcomes = [Outcome() for _ in range(clients)]
    ready = threading.Barrier(clients)

    def work(outcome: Outcome) -> None:
        client = MlflowClient(uri)
        with contextlib.suppress(threading.BrokenBarrierError):
            ready.wait(timeout=60)
        if outcome.timed(lambda: _open(client, experiment_id, outcome)):
            done = 0
            while not stop(outcome, done):
                _round(client, outcome, done)
                done += 1

    threads = [threading.Thread(target=work, args=(outcome,)) for outcome in outcomes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reader = MlflowClient(uri)
    for outcome in outcomes:
        if outcome.run_id:
            outcome.lost = _missing(reader, outcome)
    return outcomes


def _open(client: "MlflowClient", experiment_id: str, outcome: Outcome) -> None:  # noqa: F821
    outcome.run_id = client.create_run(experiment_id).info.run_id


def _round(client: "MlflowClient", outcome: Outcome, number: int) -> None:  # noqa: F821
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    keys = [f"batch/{index}" for index in range(BATCH)]
    value = float(number)
    # Parameters cannot be written again, and a run does not hold hundreds.
    params = [Param(f"param-{number}", str(number))] if number % 10 == 0 else []
    tag = RunTag(f"tag-{number % TAGS}", str(number))
    metrics = [Metric(key, value, now, number) for key in keys]
    if outcome.timed(lambda: client.log_batch(outcome.run_id, metrics, params, [tag])):
        for key in keys:
            outcome.metrics.setdefault(key, set()).add(value)
        outcome.params |= {param.key: param.value for param in params}
        outcome.tags[tag.key] = tag.value
    if outcome.timed(lambda: client.log_metric(outcome.run_id, "alone", value, now, number)):
        outcome.metrics.setdefault("alone", set()).add(value)


def _missing(client: "MlflowClient", outcome: Outcome) -> list[str]:  # noqa: F821
    lost = []
    for key, values in outcome.metrics.items():
        there = {metric.value for metric in client.get_metric_history(outcome.run_id, key)}
        lost += [f"metric {key}={value}" for value in values - there]
    data = client.get_run(outcome.run_id).data
    lost += [f"param {k}={v}" for k, v in outcome.params.items() if data.params.get(k) != v]
    lost += [f"tag {k}={v}" for k, v in outcome.tags.items() if data.tags.get(k) != v]
    return lost


def percentile(seconds: list[float], share: float) -> float:
    """The value that `share` of the sorted values do not exceed; 0 without values."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@contextlib.contextmanager
def services() -> Iterator[Path]:
    """Servers in a temporary folder, on free ports; yields the file to source."""
    from tests.services.started import free_ports, reachable

    folder = reachable(Path(tempfile.mkdtemp(prefix="modelsoup-logging-")))
    settings = os.environ | free_ports() | {"SERVICES_DIR": str(folder), "PYTHONPATH": str(REPO)}
    settings["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    script = ["bash", str(REPO / "infra/services.sh")]
    try:
        subprocess.run([*script, "up"], env=settings, check=True, stdout=subprocess.DEVNULL)
        yield folder / "env"
    finally:
        subprocess.run([*script, "down"], env=settings, check=False, stdout=subprocess.DEVNULL)
        subprocess.run(["rm", "-r", str(folder)], check=False)


def sourced(file: Path) -> dict[str, str]:
    """The environment of a shell that sources a file."""
    shell = ["bash", "-c", 'set -a; . "$1"; env -0', "bash", str(file)]
    said = subprocess.run(shell, env={}, capture_output=True, check=True, text=True).stdout
    return dict(entry.split("=", 1) for entry in said.split("\0") if entry)


def tell(outcomes: list[Outcome], took: float) -> int:
    """Print the figures.

    Returns:
        The exit code.
    """
    seconds = [one for outcome in outcomes for one in outcome.seconds]
    errors = sum((outcome.errors for outcome in outcomes), Counter[str]())
    lost = [value for outcome in outcomes for value in outcome.lost]
    kept = sum(len(v) for o in outcomes for v in o.metrics.values())
    kept += sum(len(o.params) + len(o.tags) for o in outcomes)
    p50, p99 = percentile(seconds, 0.5), percentile(seconds, 0.99)
    print(machine())
    print(f"{len(outcomes)} clients for {took:.0f} s: {len(seconds)} requests", end=", ")
    print(f"{len(seconds) / took:.0f} a second, {errors.total()} errors")
    print(f"values accepted: {kept}, lost: {len(lost)} {lost[:3] or ''}")
    print(f"latency: p50 {p50:.3f} s, p99 {p99:.3f} s, longest {max(seconds, default=0):.3f} s")
    for error, count in errors.most_common(3):
        print(f"  {count} x {error}")
    return int(bool(errors or lost or p99 >= LIMIT))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--env", type=Path, help="the env file of services that run already")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        env = arguments.env or stack.enter_context(services())
        known = sourced(env)
        os.environ |= {k: v for k, v in known.items() if k.startswith("MLFLOW_")}
        begun = time.monotonic()
        until = begun + 60 * arguments.minutes
        outcomes = log(
            known["MLFLOW_TRACKING_URI"],
            f"logging-{os.getpid()}-{int(time.time())}",
            arguments.clients,
            lambda *_: time.monotonic() >= until,
        )
        return tell(outcomes, time.monotonic() - begun)


if __name__ == "__main__":
    sys.exit(main())
