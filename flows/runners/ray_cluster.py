"""Fine-tunes as tasks of a Ray cluster, which hands out cores and GPUs.

The Prefect task that waits for one stays on the host that steers, so that workers need no
Prefect server and a killed one is tried again like any other.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from typing import Any

from flows.runners import bootstrap, remote
from flows.runners.event_log import Reader, Refused
from flows.runners.runner import Runner
from soup.config.params import Compute
from soup.errors import BadInput
from soup.pipeline.project import Project
from soup.pipeline.sweep.devices import Worker, groups, room
from soup.pipeline.sweep.sweep import Sweep, Watcher


class RayError(BadInput, RuntimeError):
    """Ray cannot be used; the message says what to do."""


def require(compute: Compute, runs: int) -> None:
    """See that Ray is there, and that a cluster that runs has a place for a fine-tune.

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
    """Raises: as `require`; Refused: a node cannot run fine-tunes of this project."""
    compute, runs = project.params.compute, len(sweep.steps)
    with _connected(compute, runs) as nodes:
        import ray

        have = room(compute, nodes, "the Ray cluster", runs)
        with remote.posted(project, code, sweep, have) as folder:
            ray.cloudpickle.register_pickle_by_value(bootstrap)
            # Tried again by Prefect, as everywhere; a worker that had GPUs ends with its task.
            task: Any = ray.remote(max_retries=0)(bootstrap.there)
            _inspect(task, str(project.root), folder)
            gpus = compute.devices_per_run if have.device == "cuda" else 0

            def send(call: remote.Call, _: Reader) -> remote.Sent:
                own = task.options(num_cpus=have.cores, num_gpus=gpus, name=call.name)
                sent = own.remote(call.root, "carry_out", *astuple(call)[1:])

                def over() -> bool:
                    return bool(ray.wait([sent], timeout=0)[0])

                def ending() -> str:
                    try:
                        refusal: str = ray.get(sent)
                    except ray.exceptions.RayError as error:
                        return f"its Ray worker ended: {str(error).splitlines()[0]}"
                    if refusal:
                        raise Refused(refusal)
                    return ""

                return remote.Sent(over, ending)

            yield remote.runner(project, folder, watcher, have.slots, send)


def _installed() -> None:
    try:
        import ray  # noqa: F401
    except ImportError:
        raise RayError(
            "compute.runner is ray, which is not installed: pip install 'modelsoup[ray]'"
        ) from None


@contextmanager
def _connected(compute: Compute, runs: int) -> Iterator[list[Worker]]:
    """The nodes of the cluster, or of one that is started here."""
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
    """Start Ray on this machine; a busy one may not manage within the 30 s that Ray allows."""
    import ray

    for last in (False, False, True):
        try:
            ray.init(address="local", **settings)
            return
        except Exception as error:  # Ray raises no more special one
            ray.shutdown()
            if last:
                raise RayError(f"Ray does not start on this machine: {error}") from None


def _local(compute: Compute, runs: int) -> dict[str, Any]:
    """A cluster of this machine; what it moves is a few words."""
    shared = groups(compute, runs)
    gpus = {device for group in shared.groups for device in group if device != "cpu"}
    return {
        "num_cpus": len(shared.groups) * shared.threads * compute.devices_per_run,
        "num_gpus": len(gpus),
        "include_dashboard": False,
        "object_store_memory": 100 * 2**20,
    }


def _inspect(task: Any, root: str, folder: str) -> None:
    """Ask every node whether it can run fine-tunes of this project."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = [
        task.options(
            num_cpus=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
        ).remote(root, "problem", folder)
        for node in ray.nodes()
        if node["Alive"]
    ]
    try:
        problems = [problem for problem in ray.get(asked) if problem]
    except ray.exceptions.RayError as error:
        problems = [str(error)]
    if problems:
        raise Refused("; ".join(problems))
