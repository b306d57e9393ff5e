"""Fine-tunes as tasks of a Dask cluster; its workers say how many GPUs each has.

dask worker tcp://HOST:8786 --nthreads 8 --resources "GPU=8"
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from typing import Any
from uuid import uuid4

from flows.runners import bootstrap, remote
from flows.runners.event_log import Reader, Refused
from flows.runners.runner import Runner
from soup.config.params import Compute
from soup.errors import BadInput
from soup.pipeline.project import Project
from soup.pipeline.sweep.devices import Worker, groups, room
from soup.pipeline.sweep.sweep import Sweep, Watcher


class DaskError(BadInput, RuntimeError):
    """Dask cannot be used; the message says what to do."""


def require(compute: Compute, runs: int) -> None:
    """See that Dask is there, and that a cluster that runs has a place for a fine-tune.

    Raises:
        DaskError: it is not installed, or does not answer.
        NoDevices: no worker holds a fine-tune.
    """
    _installed()
    if compute.runner.address is None:
        groups(compute, runs)
        return
    with _connected(compute, runs) as client:
        room(compute, _workers(client), "the Dask cluster", runs)


@contextmanager
def on_dask(project: Project, code: str, sweep: Sweep, watcher: Watcher) -> Iterator[Runner]:
    """Raises: as `require`; Refused: a worker cannot run fine-tunes of this project."""
    compute, runs = project.params.compute, len(sweep.steps)
    with _connected(compute, runs) as client:
        have = room(compute, _workers(client), "the Dask cluster", runs)
        each = compute.devices_per_run
        gpus = {"GPU": each} if have.device == "cuda" else None
        with remote.posted(project, code, sweep, have) as folder:
            answers = client.run(
                bootstrap.there, str(project.root), "problem", folder, on_error="return"
            )
            problems = sorted({str(answer) for answer in answers.values() if answer})
            if problems:
                raise Refused("; ".join(problems))

            def send(call: remote.Call, _: Reader) -> remote.Sent:
                future = client.submit(
                    bootstrap.there,
                    call.root,
                    "carry_out",
                    *astuple(call)[1:],
                    key=f"{call.name}-{uuid4().hex}",
                    resources=gpus,
                )

                def ending() -> str:
                    try:
                        refusal: str = future.result()
                    except Exception as error:  # killed, or the scheduler is gone
                        return f"its Dask worker ended: {error}"
                    if refusal:
                        raise Refused(refusal)
                    return ""

                return remote.Sent(future.done, ending)

            yield remote.runner(project, folder, watcher, have.slots, send)


def _installed() -> None:
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise DaskError(
            "compute.runner is dask, which is not installed: pip install 'modelsoup[dask]'"
        ) from None


@contextmanager
def _connected(compute: Compute, runs: int) -> Iterator[Any]:
    """A client of the cluster, or of one that is started here."""
    _installed()
    import cloudpickle
    import dask
    from distributed import Client, LocalCluster

    cloudpickle.register_pickle_by_value(bootstrap)
    address = compute.runner.address
    if address is not None:
        try:
            client = Client(address, timeout=5)
        except (OSError, ValueError) as error:
            raise DaskError(
                f"no Dask scheduler answers at {address} ({error}); start one with "
                "dask scheduler, and workers for it"
            ) from None
        with client:
            yield client
        return
    shared = groups(compute, runs)
    each = compute.devices_per_run
    gpus = len({device for group in shared.groups for device in group if device != "cpu"})
    count = min(len(shared.groups), gpus // each) if gpus else len(shared.groups)
    # A killed worker is our task's to try again, not the scheduler's.
    own = {"distributed.scheduler.allowed-failures": 0}
    with (
        dask.config.set(own),
        LocalCluster(
            n_workers=count,
            threads_per_worker=shared.threads * each,
            resources={"GPU": gpus // count} if gpus else None,
            dashboard_address=None,
            silence_logs=50,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _workers(client: Any) -> list[Worker]:
    return [
        Worker(address, worker["nthreads"], int(worker["resources"].get("GPU", 0)))
        for address, worker in client.scheduler_info(n_workers=-1)["workers"].items()
    ]
