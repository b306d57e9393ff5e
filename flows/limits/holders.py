"""Who holds the slots of Prefect's limits.

A limit has a count of what is taken, and leases of those who took it, which end by themselves. A
server that forgot the leases (kept in memory, then restarted) keeps the count: what is taken and
leased by nobody stays taken until the count is set right.
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
    """A task that has slots.

    Attributes:
        who: its name and its flow run's, for people.
        slots: how many.
        alive: whether its flow run goes on; if not, its lease ends soon.
    """

    who: str
    slots: int
    alive: bool


@dataclass(frozen=True)
class Limit:
    """A limit.

    Attributes:
        name: Prefect's.
        slots: in all.
        taken: of these.
        holders: those with a lease.
        stuck: taken by nobody.
    """

    name: str
    slots: int
    taken: int
    holders: tuple[Holder, ...]
    stuck: int


def limits(client: SyncPrefectClient) -> list[Limit]:
    """All limits on tags, which are those whose holders the server tells."""
    found = client.read_global_concurrency_limits(limit=200, offset=0)
    return [_limit(client, each) for each in found if each.name.startswith(PREFIX)]


def free(client: SyncPrefectClient, limit: Limit) -> int:
    """Give back the slots that nobody holds; how many."""
    now = _limit(client, client.read_global_concurrency_limit_by_name(limit.name))
    if now.stuck:
        client.update_global_concurrency_limit(
            limit.name, GlobalConcurrencyLimitUpdate(active_slots=now.taken - now.stuck)
        )
    return now.stuck


def _limit(client: SyncPrefectClient, known: Any) -> Limit:
    leased = client.read_concurrency_limit_by_tag(known.name.removeprefix(PREFIX)).active_slots
    holders = tuple(_holder(client, run) for run in leased)
    stuck = max(0, known.active_slots - sum(holder.slots for holder in holders))
    return Limit(known.name, known.limit, known.active_slots, holders, stuck)


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
