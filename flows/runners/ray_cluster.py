"""Fine-tunes as tasks of a Ray cluster, which hands out cores and GPUs.

The Prefect task that waits for one stays on the host that steers, so that workers need no
Prefect server and a killed one is tried again like any other.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flows.runners import bootstrap, remote
from flows.runners.event_log import Reader, Refused
from flows.runners.runner import Runner
from soup.config.compute import Compute
from soup.errors import BadInput
from soup.pipeline.project import Project
from soup.pipeline.sweep.devices import Worker, groups, room
from soup.pipeline.sweep.sweep import Sweep
from soup.pipeline.sweep.watcher import Watcher


class RayError(BadInput, RuntimeError):
    """Ray cannot be used; the message says what to do."""


def require(compute: Compute, runs: int) -> None:
    """Check that Ray is installed, and that a cluster that runs has a place for a fine-tune.

    Args:
        compute: of the parameters.
        runs: how many fine-tunes there are.

    Raises:
        RayError: it is not installed, or does not answer.
        NoDevices: no node holds a fine-tune.
    """
    _installed()
    if compute.runner.address is None:
        groups(compute, runs)
        return
    with _connected(compute, runs) as nodes:
        room(compute, nodes, "the Ray cluster", runs)


@contextmanager
def on_ray(project: Project, code: str, sweep: Sweep, watcher: Watcher) -> Iterator[Runner]:
    """Open a runner on the Ray cluster at `compute.runner.address`, or on one that is started here.

    Raises:
        RayError: Ray is not installed, or does not answer.
        NoDevices: no node holds a fine-tune.
        Refused: a node cannot run fine-tunes of this project.
    """
    compute, runs = project.params.compute, len(sweep.steps)
    with _connected(compute, runs) as nodes:
        import ray

        capacity = room(compute, nodes, "the Ray cluster", runs)
        with remote.job_folder(project, code, sweep, capacity) as folder:
            ray.cloudpickle.register_pickle_by_value(bootstrap)
            # Prefect tries again, as everywhere. A Ray worker that had GPUs ends with its task.
            task: Any = ray.remote(max_retries=0)(bootstrap.call_worker)
            _inspect(task, str(project.root), folder)
            gpus = compute.devices_per_run if capacity.device == "cuda" else 0

            def send(events: str, name: str, until: float, _: Reader) -> remote.Sent:
                options = {"num_cpus": capacity.cores, "num_gpus": gpus, "name": name}
                arguments = (str(project.root), "carry_out", folder, events, name, until)
                result = task.options(**options).remote(*arguments)

                def over() -> bool:
                    return bool(ray.wait([result], timeout=0)[0])

                def ending() -> str:
                    try:
                        refusal: str = ray.get(result)
                    except ray.exceptions.RayError as error:
                        return f"its Ray worker ended: {str(error).splitlines()[0]}"
                    if refusal:
                        raise Refused(refusal)
                    return ""

                return remote.Sent(over, ending)

            yield remote.runner(project, folder, watcher, capacity.slots, send)


def _installed() -> None:
    try:
        import ray  # noqa: F401
    except ImportError:
        raise RayError(
            "compute.runner is ray, which is not installed: pip install '.[ray]' in the checkout "
            "of modelsoup"
        ) from None


@contextmanager
def _connected(compute: Compute, runs: int) -> Iterator[list[Worker]]:
    """Connect to the cluster, or to one that is started here; yields its nodes."""
    _installed()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    address = compute.runner.address
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        _start({**quiet, **_local(compute, runs)})
    else:
        try:
            ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise RayError(
                f"no Ray cluster answers at {address} ({str(error).splitlines()[0]}); start one "
                "with ray start --head, and give its address"
            ) from None
    try:
        yield [
            Worker(
                f"{node['NodeManagerHostname']}",
                int(node["Resources"].get("CPU", 0)),
                int(node["Resources"].get("GPU", 0)),
            )
            for node in ray.nodes()
            if node["Alive"]
        ]
    finally:
        ray.shutdown()


def _start(settings: dict[str, Any]) -> None:
    """Start Ray on this machine, in three tries: Ray allows 30 s, too few for a busy machine."""
    import ray

    for last in (False, False, True):
        try:
            ray.init(address="local", **settings)
            return
        except Exception as error:  # Ray raises no narrower kind
            ray.shutdown()
            if last:
                raise RayError(f"Ray does not start on this machine: {error}") from None


def _local(compute: Compute, runs: int) -> dict[str, Any]:
    """Settings of a Ray cluster on this machine; its store is small, for only a few words go by."""
    shared = groups(compute, runs)
    gpus = {device for group in shared.groups for device in group if device != "cpu"}
    return {
        "num_cpus": len(shared.groups) * shared.threads * compute.devices_per_run,
        "num_gpus": len(gpus),
        "include_dashboard": False,
        "object_store_memory": 100 * 2**20,
    }


def _inspect(task: Any, root: str, folder: str) -> None:
    """Ask every node whether it can run fine-tunes of this project.

    Raises:
        Refused: some cannot; the message has the problems of all.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    answers = [
        task.options(
            num_cpus=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
        ).remote(root, "problem", folder)
        for node in ray.nodes()
        if node["Alive"]
    ]
    try:
        problems = [problem for problem in ray.get(answers) if problem]
    except ray.exceptions.RayError as error:
        problems = [str(error)]
    if problems:
        raise Refused("; ".join(problems))
