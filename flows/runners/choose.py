"""Choose where fine-tunes run, by `compute.runner`; a sweep knows a `Runner` alone."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from flows.limits import device_limit
from flows.runners import ray_cluster, work_pool
from flows.runners.local import local_runner
from flows.runners.runner import Runner
from soup.config.compute import Compute
from soup.config.params import Params
from soup.pipeline.project import Project
from soup.pipeline.sweep.devices import groups
from soup.pipeline.sweep.sweep import Sweep
from soup.pipeline.sweep.watcher import Watcher

Require = Callable[[Compute, int], object]
Open = Callable[[Project, str, Sweep, Watcher], AbstractContextManager[Runner]]
# By `compute.runner.kind`: a check before anything starts, and the runner itself.
REMOTE: dict[str, tuple[Require, Open]] = {
    "ray": (ray_cluster.require, ray_cluster.on_ray),
    "pool": (work_pool.require, work_pool.on_pool),
}


def require(params: Params) -> None:
    """Check that the fine-tunes have a place to run.

    Raises:
        BadInput: something is not installed, not there, or too small; the message says what to do.
    """
    compute = _with_slots(params)
    device_limit.require(compute)
    if _is_remote(params):
        REMOTE[compute.runner.kind][0](compute, params.sweep.runs)
    else:
        groups(compute, params.sweep.runs)


def threads_here(params: Params) -> int:
    """CPU threads for each process of a fine-tune that runs on this machine."""
    return 1 if _is_remote(params) else groups(params.compute, params.sweep.runs).threads


@contextmanager
def chosen(project: Project, code: str, sweep: Sweep, watcher: Watcher) -> Iterator[Runner]:
    """Open the runner that the parameters ask for.

    Args:
        project: whose parameters ask.
        code: digest of the source files that a fine-tune's result depends on.
        sweep: whose fine-tunes it runs; checkpoints that are imported are scored on this machine.
        watcher: is told how the fine-tunes go on.

    Raises:
        BadInput: as `require`, or a worker is not set up as this host is.
    """
    params = project.params
    if _is_remote(params):
        project = replace(
            project, params=params.model_copy(update={"compute": _with_slots(params)})
        )
        with REMOTE[params.compute.runner.kind][1](project, code, sweep, watcher) as runner:
            yield runner
        return
    shared = groups(params.compute, params.sweep.runs)
    if shared.note:
        project.say(shared.note)
    devices = shared.groups
    if sweep.imported:
        devices = tuple(dict.fromkeys((group[0],) for group in devices))  # one model on each
    yield local_runner(sweep, devices, params.compute.limit is not None, watcher)


def _is_remote(params: Params) -> bool:
    """Whether another process than this one starts the fine-tunes."""
    return params.compute.runner.kind != "local" and params.sweep.imported is None


def _with_slots(params: Params) -> Compute:
    """`compute` with at most as many slots as workers are to be started."""
    compute = params.compute
    workers = compute.runner.workers
    if workers is None:
        return compute
    return compute.model_copy(update={"slots": min(workers, compute.slots or workers)})
