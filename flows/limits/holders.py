"""Who holds the slots of Prefect's limits.

A limit has a count of the slots that are taken, and leases of the tasks that took them. Leases end
by themselves. A server that kept leases in memory and restarted has lost them, but not the count:
slots that are counted and leased by nobody stay taken until the count is corrected.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.exceptions import ObjectNotFound

from flows.limits.device_limit import PREFIX, SLOTS


@dataclass(frozen=True)
class Holder:
    """A task that holds slots.

    Attributes:
        who: names of the task and its flow run, for people.
        slots: how many it holds.
        alive: whether its flow run goes on; if not, its lease ends soon.
    """

    who: str
    slots: int
    alive: bool


@dataclass(frozen=True)
class Limit:
    """A limit of the Prefect server.

    Attributes:
        name: its name on the server.
        slots: how many there are.
        taken: how many of them are taken.
        holders: the tasks that have a lease.
        stuck: how many are taken, and leased by nobody.
    """

    name: str
    slots: int
    taken: int
    holders: tuple[Holder, ...]
    stuck: int


def limits(client: SyncPrefectClient) -> list[Limit]:
    """All limits on tags; the server does not tell who holds the others."""
    every = client.read_global_concurrency_limits(limit=200, offset=0)
    return [_limit(client, limit) for limit in every if limit.name.startswith(PREFIX)]


def free(client: SyncPrefectClient, limit: Limit) -> int:
    """Free the slots of a limit that nobody holds; returns how many."""
    now = _limit(client, client.read_global_concurrency_limit_by_name(limit.name))
    if now.stuck:
        client.update_global_concurrency_limit(
            limit.name, GlobalConcurrencyLimitUpdate(active_slots=now.taken - now.stuck)
        )
    return now.stuck


def _limit(client: SyncPrefectClient, limit: Any) -> Limit:
    leased = client.read_concurrency_limit_by_tag(limit.name.removeprefix(PREFIX)).active_slots
    holders = tuple(_holder(client, run) for run in leased)
    stuck = max(0, limit.active_slots - sum(holder.slots for holder in holders))
    return Limit(limit.name, limit.limit, limit.active_slots, holders, stuck)


def _holder(client: SyncPrefectClient, task_run: UUID) -> Holder:
    try:
        task = client.read_task_run(task_run)
    except ObjectNotFound:  # the server hears of tasks a moment later
        return Holder(f"task run {task_run}", 1, True)
    slots = next((int(t.removeprefix(SLOTS)) for t in task.tags if t.startswith(SLOTS)), 1)
    if task.flow_run_id is None:
        return Holder(task.name, slots, True)
    flow = client.read_flow_run(task.flow_run_id)
    state = flow.state
    over = state is not None and state.is_final()
    how = f", which is {state.name}: its lease ends by itself" if state is not None and over else ""
    return Holder(f"{task.name} of flow run {flow.name}{how}", slots, not over)
