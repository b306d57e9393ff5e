"""Devices as slots of a Prefect limit that several sweeps share.

It is a limit on a tag, because the server tells who holds the slots for these limits alone:

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
from soup.config.compute import Compute
from soup.errors import BadInput

LEASE = 120.0  # seconds after which the slots of a killed sweep are free again
PATIENCE = 20.0  # seconds after which a fine-tune that waits says so
PREFIX = "tag:"
SLOTS = "slots="  # prefix of a task's tag that says how many slots it holds


class LimitError(BadInput, RuntimeError):
    """A limit cannot be used; the message says what to do."""


def require(compute: Compute) -> None:
    """Check that the limit `compute.limit` exists, and has slots enough for one fine-tune.

    Raises:
        LimitError: it does not, or has too few.
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
    """Hold a slot for each device of a fine-tune within; waits until they are free.

    Where no limit is set, or no task is under way, nothing is held. A server that goes away while
    slots are held never ends the fine-tune; the limit may then be exceeded for a while.

    Args:
        compute: of the parameters.
        say: is told of a long wait, and of slots that could not be given back.
    """
    context = TaskRunContext.get()
    if compute.limit is None or context is None:
        yield
        return
    holder = ConcurrencyLeaseHolder(type="task_run", id=context.task_run.id)

    def acquire(timeout: float | None) -> ExitStack:
        held = concurrency(
            PREFIX + str(compute.limit),
            occupy=compute.devices_per_run,
            lease_duration=LEASE,
            timeout_seconds=timeout,
            holder=holder,
        )
        stack = ExitStack()
        stack.enter_context(held)
        return stack

    try:
        stack = retry_while_restarting(lambda: acquire(PATIENCE))
    except TimeoutError:
        say(f"waits for {compute.limit}, all of whose slots are taken (make doctor: by whom)")
        stack = retry_while_restarting(lambda: acquire(None))
    try:
        yield
    finally:
        try:
            stack.close()
        except httpx.HTTPError:
            say(f"its slots of {compute.limit} could not be given back; the lease ends by itself")
