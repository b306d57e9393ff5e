"""Devices as slots of a Prefect limit that several sweeps share.

It is a limit on a tag, for of these alone the server tells who holds them:

    prefect concurrency-limit create gpus 8
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLeaseHolder
from prefect.concurrency.sync import concurrency
from prefect.context import TaskRunContext
from prefect.exceptions import ObjectNotFound

from flows.server.client import require_server, retry_while_restarting
from soup.config.params import Compute
from soup.errors import BadInput

LEASE = 120.0  # seconds after which the slots of a killed sweep are free again
PATIENCE = 20.0  # seconds after which one that waits says so
PREFIX = "tag:"
SLOTS = "slots="  # begins a tag of a task: how many it holds


class LimitError(BadInput, RuntimeError):
    """A limit cannot be used; the message says what to do."""


def require(compute: Compute) -> None:
    """See that the limit of the parameters exists, and lets a fine-tune through at all.

    Raises:
        LimitError: it does not.
        PrefectError: there is no Prefect server.
    """
    if compute.limit is None:
        return
    require_server("compute.limit")
    with get_client(sync_client=True) as client:
        try:
            limit = client.read_global_concurrency_limit_by_name(PREFIX + compute.limit)
        except ObjectNotFound:
            raise LimitError(
                f"the Prefect server has no limit {compute.limit}; make it, with as many slots as "
                f"there are GPUs: prefect concurrency-limit create {compute.limit} 8"
            ) from None
    if compute.devices_per_run > limit.limit:
        raise LimitError(
            f"compute.devices_per_run is {compute.devices_per_run}, but limit {compute.limit} "
            f"has {limit.limit} slots in all: it would wait for ever"
        )


@contextmanager
def slots(compute: Compute, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a slot for each device of a fine-tune; waits for them.

    A server that is away, or restarts, costs the limit for a while and never the fine-tune.
    """
    context = TaskRunContext.get()
    if compute.limit is None or context is None:
        yield
        return
    holder = ConcurrencyLeaseHolder(type="task_run", id=context.task_run.id)

    def taken(timeout: float | None) -> ExitStack:
        stack = ExitStack()
        stack.enter_context(
            concurrency(
                PREFIX + str(compute.limit),
                occupy=compute.devices_per_run,
                lease_duration=LEASE,
                timeout_seconds=timeout,
                holder=holder,
            )
        )
        return stack

    try:
        stack = retry_while_restarting(lambda: taken(PATIENCE))
    except TimeoutError:
        say(f"waits for {compute.limit}, all of whose slots are taken (make doctor: by whom)")
        stack = retry_while_restarting(lambda: taken(None))
    try:
        yield
    finally:
        try:
            stack.close()
        except httpx.HTTPError:
            say(f"its slots of {compute.limit} could not be given back; the lease ends by itself")
