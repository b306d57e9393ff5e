"""A fine-tune in a work pool whose host is gone is not waited for for ever."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect.client.schemas.objects import State
from prefect.states import Completed, Pending, Running, Scheduled

from flows.runners import work_pool
from flows.runners.event_log import Reader
from tests.flows.clock import Clock
from tests.pipeline.projects import Silent

RUN = UUID(int=1)


class Server:
    """Knows one flow run; away while its state is None."""

    def __init__(self) -> None:
        self.state: State[Any] | None = Scheduled()

    def read_flow_run(self, run: UUID) -> Any:
        assert run == RUN
        if self.state is None:
            raise httpx.ConnectError("away")
        return SimpleNamespace(state=self.state)

    def set_flow_run_state(self, run: UUID, state: State[Any], force: bool) -> None:
        assert run == RUN
        assert force
        self.state = state


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()

    @contextmanager
    def client(sync_client: bool) -> Iterator[Server]:
        yield made

    monkeypatch.setattr(work_pool, "get_client", client)
    return made


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


@pytest.fixture
def watched(server: Server, clock: Clock, journal: Path) -> work_pool.Watched:
    return work_pool.Watched(RUN, Reader(journal, Silent(), clock), set(), clock)


def over(watched: work_pool.Watched, clock: Clock, seconds: float) -> bool:
    """Whether it is, after some seconds in which it was asked now and then."""
    watched._reader.read()
    for _ in range(10):
        clock.now += seconds / 10
        if watched.over():
            return True
    return False


def test_a_queue_may_be_as_long_as_it_likes(watched: work_pool.Watched, clock: Clock) -> None:
    assert not over(watched, clock, 100 * work_pool.UNHEARD)


@pytest.mark.parametrize("state", [Pending(), Running()])
def test_a_host_that_goes_before_its_first_sign_is_lost(
    server: Server, watched: work_pool.Watched, clock: Clock, state: State[Any]
) -> None:
    assert not over(watched, clock, work_pool.UNHEARD)
    server.state = state
    assert not over(watched, clock, 0.9 * work_pool.UNHEARD)
    assert over(watched, clock, 0.3 * work_pool.UNHEARD)
    assert server.state.is_crashed()
    assert watched.ending() == "its worker gave no sign of life for 300 s"


def test_one_that_was_heard_is_lost_after_its_last_sign(
    server: Server, watched: work_pool.Watched, clock: Clock, journal: Path
) -> None:
    server.state = Running()
    journal.write_text('["beat"]\n')
    assert not over(watched, clock, 0.9 * work_pool.SILENT)
    journal.write_text('["beat"]\n["beat"]\n')
    assert not over(watched, clock, 0.9 * work_pool.SILENT)
    assert over(watched, clock, 0.2 * work_pool.SILENT)
    assert watched.ending() == "its worker gave no sign of life for 120 s"


def test_a_server_that_is_away_decides_nothing(
    server: Server, watched: work_pool.Watched, clock: Clock
) -> None:
    server.state = None
    assert not over(watched, clock, 2 * work_pool.UNHEARD)
    server.state = Completed()
    assert over(watched, clock, 5 * work_pool.POLL)
    assert watched.ending() == ""
