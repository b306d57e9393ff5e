"""Where fine-tunes run. One function chooses; a sweep knows nothing of it but `Runner`."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from flows.limits import device_limit
from flows.runners import dask_cluster, ray_cluster, work_pool
from flows.runners.local import here
from flows.runners.runner import Runner
from soup.config.params import Compute, Params
from soup.pipeline.project import Project
from soup.pipeline.sweep.devices import groups
from soup.pipeline.sweep.sweep import Sweep, Watcher

Require = Callable[[Compute, int], None]
Open = Callable[[Project, str, Sweep, Watcher], AbstractContextManager[Runner]]
# What can be known to be wrong before anything starts, and the runner itself.
ELSEWHERE: dict[str, tuple[Require, Open]] = {
    "ray": (ray_cluster.require, ray_cluster.on_ray),
    "dask": (dask_cluster.require, dask_cluster.on_dask),
    "pool": (work_pool.require, work_pool.on_pool),
}


def require(params: Params) -> None:
    """See that there is a place for the fine-tunes.

    Raises:
        BadInput: something is not installed, not there, or too small; says what to do.
    """
    compute = _bounded(params)
    device_limit.require(compute)
    if _elsewhere(params):
        ELSEWHERE[compute.runner.kind][0](compute, params.sweep.runs)
    else:
        groups(compute, params.sweep.runs)


def threads_here(params: Params) -> int:
    """Of computation on the CPU, for each process of a fine-tune on this machine."""
    return 1 if _elsewhere(params) else groups(params.compute, params.sweep.runs).threads


@contextmanager
def chosen(project: Project, code: str, sweep: Sweep, watcher: Watcher) -> Iterator[Runner]:
    """The runner that the parameters ask for.

    Args:
        code: digest of the source files that a fine-tune's result depends on.

    Raises:
        BadInput: as `require`, or a worker is not set up as this host is.
    """
    params = project.params
    if _elsewhere(params):
        project = replace(project, params=params.model_copy(update={"compute": _bounded(params)}))
        with ELSEWHERE[params.compute.runner.kind][1](project, code, sweep, watcher) as runner:
            yield runner
        return
    shared = groups(params.compute, params.sweep.runs)
    if shared.note:
        project.say(shared.note)
    devices = shared.groups
    if sweep.imported:
        devices = tuple(dict.fromkeys((group[0],) for group in devices))  # one model on each
    yield here(sweep, devices, params.compute.limit is not None, watcher)


def _elsewhere(params: Params) -> bool:
    """Checkpoints that are imported are scored where they are read: here."""
    return params.compute.runner.kind != "local" and params.sweep.imported is None


def _bounded(params: Params) -> Compute:
    """As many slots as there are to be workers."""
    compute = params.compute
    workers = compute.runner.workers
    if workers is None:
        return compute
    return compute.model_copy(update={"slots": min(workers, compute.slots or workers)})
