"""Fine-tunes as flow runs of a Prefect work pool: on whatever hosts or Kubernetes its workers have.

The deployment that they are runs of is made here, for the pool that is named in the parameters.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State, WorkerStatus, WorkPool
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling, Crashed

from flows.runners import remote
from flows.runners.event_log import BEAT, Reader, Refused
from flows.runners.pool_job import fine_tune
from flows.runners.runner import Runner
from flows.server.client import require_server, retry_while_restarting
from soup.config.compute import Compute
from soup.errors import BadInput
from soup.pipeline.project import Project
from soup.pipeline.sweep.devices import NoDevices
from soup.pipeline.sweep.sweep import Sweep
from soup.pipeline.sweep.watcher import Watcher
from soup.train.worker_process import Failed

POLL = 3.0  # seconds between two questions to the server about one flow run
# Seconds without a sign of life, after which a fine-tune counts as killed.
SILENT = remote.STALE + 6 * BEAT
UNHEARD = 300.0  # the same before the first sign: a worker takes up the job, starts and imports
GPUS = "gpus"  # variable of a job template: how many GPUs a job gets
DIRECTORY = "{{ $MODELSOUP_ROOT }}"


class PoolError(BadInput, RuntimeError):
    """A work pool cannot be used; the message says what to do."""


def require(compute: Compute, _: int) -> WorkPool:
    """The work pool, which exists, has a worker that takes its runs, and fits a fine-tune.

    Raises:
        PoolError: one of these is not so.
        NoDevices: a job of the pool has too few GPUs.
    """
    require_server("compute.runner: pool")
    name = str(compute.runner.pool)
    with get_client(sync_client=True) as client:
        pool = _pool(client, name)
        if pool.is_paused:
            raise PoolError(f"work pool {name} is paused: prefect work-pool resume {name}")
        if not online(client, name):
            raise PoolError(
                f"no worker of work pool {name} is online, so nothing would start; on each host "
                f"that is to fine-tune: MODELSOUP_ROOT=FOLDER prefect worker start --pool {name}"
            )
    _job_variables(pool, compute)
    return pool


@contextmanager
def on_pool(project: Project, code: str, sweep: Sweep, watcher: Watcher) -> Iterator[Runner]:
    """Open a runner whose fine-tunes are flow runs of the work pool `compute.runner.pool`.

    Raises:
        PoolError: the pool or its workers cannot be used.
        NoDevices: a job of the pool has too few GPUs.
    """
    compute = project.params.compute
    pool = require(compute, len(sweep.steps))
    with get_client(sync_client=True) as client:
        slots = compute.slots or pool.concurrency_limit or online(client, pool.name)
        deployment = client.create_deployment(
            client.create_flow(fine_tune),
            pool.name,
            description="One fine-tune of a sweep; started by the flow finetune.",
            entrypoint="flows/runners/pool_job.py:fine_tune",
            work_pool_name=pool.name,
            pull_steps=[
                {"prefect.deployments.steps.set_working_directory": {"directory": DIRECTORY}}
            ],
            job_variables=_job_variables(pool, compute),
        )
    slots = min(slots, len(sweep.steps))
    with remote.job_folder(project, code, sweep) as folder, _cancelled_at_the_end() as runs:

        def send(events: str, name: str, until: float, reader: Reader) -> remote.Sent:
            arguments = {"folder": folder, "events": events, "name": name, "until": until}
            flow_run: Any = retry_while_restarting(
                lambda: run_deployment(
                    deployment, parameters=arguments, flow_run_name=name, timeout=0
                )
            )
            watched = Watched(flow_run.id, reader, runs)
            return remote.Sent(watched.over, watched.ending)

        yield remote.runner(project, folder, watcher, slots, send)


class Watched:
    """A flow run in the pool, and the event log of its fine-tune."""

    def __init__(
        self,
        run: UUID,
        reader: Reader,
        under_way: set[UUID],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            run: id of the flow run.
            reader: of the event log.
            under_way: the flow runs of the sweep that are not over; gets this one, until it is.
            clock: in seconds.
        """
        self._run, self._reader, self._under_way = run, reader, under_way
        self._clock, self._polled = clock, clock()
        self._taken: float | None = None  # when a worker was first seen to have the flow run
        self._state: State[Any] | None = None
        under_way.add(run)

    def over(self) -> bool:
        """Whether the fine-tune has an outcome, or will never have one."""
        over = self._reader.ended or self._lost() or self._final()
        if over:
            self._under_way.discard(self._run)
        return over

    def ending(self) -> str:
        """How the flow run ended; '' if it completed.

        Raises:
            Refused: it could not begin.
            Failed: it was cancelled by hand.
        """
        if self._state is None or not self._state.is_final():
            patience = UNHEARD if self._reader.heard is None else SILENT
            return f"its worker gave no sign of life for {patience:.0f} s"
        if self._state.is_completed():
            return ""
        message = f"its flow run ended as {self._state.name}: {self._state.message}"
        if self._state.is_cancelled():
            raise Failed(message)
        if self._state.is_failed() and self._reader.heard is None:
            raise Refused(message)
        return message

    def _lost(self) -> bool:
        """Whether the worker is gone with its host, so that nobody tells the server."""
        heard, since, patience = self._reader.heard, self._taken, UNHEARD
        if heard is not None:
            since, patience = heard, SILENT
        if since is None or self._clock() - since < patience:
            return False
        with suppress(httpx.HTTPError), get_client(sync_client=True) as client:
            client.set_flow_run_state(self._run, Crashed(message="no sign of life"), force=True)
        return True

    def _final(self) -> bool:
        """Whether the server says that the flow run has ended; asks it now and then."""
        now = self._clock()
        if now - self._polled < POLL:
            return False
        self._polled = now
        try:
            with get_client(sync_client=True) as client:
                self._state = client.read_flow_run(self._run).state
        except httpx.HTTPError:  # a server that restarts; the fine-tune goes on
            return False
        if self._state is None:
            return False
        if self._taken is None and (self._state.is_pending() or self._state.is_running()):
            self._taken = now
        return self._state.is_final()


@contextmanager
def _cancelled_at_the_end() -> Iterator[set[UUID]]:
    """Yield a set for the flow runs under way; cancel those left in it when the sweep ends."""
    runs: set[UUID] = set()
    try:
        yield runs
    finally:
        for run in [*runs]:
            with suppress(httpx.HTTPError), get_client(sync_client=True) as client:
                client.set_flow_run_state(run, Cancelling())


def _pool(client: SyncPrefectClient, name: str) -> WorkPool:
    try:
        return client.read_work_pool(name)
    except ObjectNotFound:
        pools = ", ".join(sorted(pool.name for pool in client.read_work_pools())) or "none"
        raise PoolError(
            f"the Prefect server has no work pool {name} (it has: {pools}); "
            f"prefect work-pool create {name} --type process"
        ) from None


def online(client: SyncPrefectClient, pool: str) -> int:
    """How many workers of a pool are online, by what the server last heard of them."""
    workers = client.read_workers_for_work_pool(pool)
    return sum(worker.status == WorkerStatus.ONLINE for worker in workers)


def _job_variables(pool: WorkPool, compute: Compute) -> dict[str, Any]:
    """How many GPUs a job is to have, if the pool's job template has a variable for GPUs.

    Raises:
        NoDevices: jobs of the pool cannot have so many.
    """
    variable = pool.base_job_template.get("variables", {}).get("properties", {}).get(GPUS)
    if variable is None:  # the worker looks at its host, before it trains
        return {}
    if compute.device == "cpu":
        return {GPUS: 0}
    gpus, most = compute.devices_per_run, variable.get("maximum")
    if most is not None and gpus > most:
        raise NoDevices(
            f"compute.devices_per_run is {gpus}, but a job of work pool {pool.name} gets at most "
            f"{most} GPUs; lower it, or raise the maximum of 'gpus' in the pool's job template"
        )
    if compute.device == "auto" and gpus == 1 and not variable.get("default"):
        return {}
    return {GPUS: gpus}
