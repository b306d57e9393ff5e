"""Where the time of a run went, as the end of a run tells it."""

import gc
import io
import threading

import pytest
from rich.console import Console

from flows import time_spent as module
from flows.time_spent import TimeSpent
from soup.tracking.stopwatch import clocked, waited
from tests.flows.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module.time, "monotonic", made)
    return made


def shown(spent: TimeSpent, width: int = 100) -> list[list[str]]:
    console = Console(width=width, file=io.StringIO(), record=True)
    spent.show(console)
    return [line.split() for line in console.export_text().splitlines() if line.strip()]


def test_each_part_has_its_start_its_seconds_and_what_it_waited_for(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = iter([1.0, 4.0, 4.0, 4.0, 4.0, 4.0])
    monkeypatch.setattr(module, "_mlflow", lambda: next(mlflow))
    spent = TimeSpent()
    spent.restart()
    with spent.part("prepare"):
        with spent.importing():
            clock.now += 10
        clock.now += 20
    with spent.part("nothing"):
        clock.now += 0.5
    with spent.part("finetune"):
        clock.now += 69.5
    rows = shown(spent)
    assert rows[-2][:6] == ["prepare", "0.0", "30.0", "30%", "10.0", "3.0"]
    assert rows[-2][6] == "=" * 6
    assert rows[-1][:4] == ["finetune", "30.5", "69.5", "70%"]
    assert rows[-1][4] == "=" * 14
    assert not any("nothing" in row for row in rows)


def test_nobody_looks_for_garbage_during_imports_and_afterwards_as_before() -> None:
    spent = TimeSpent()
    with spent.importing():
        assert not gc.isenabled()
        with spent.importing():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_run_that_is_its_process_begins_with_it(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_age", lambda: 5.0)
    spent = TimeSpent()
    spent.restart(of_process=True)
    clock.now += 5
    assert shown(spent)[-1][:5] == ["start", "Python", "0.0", "5.0", "50%"]
    spent.restart()
    assert shown(spent) == []


def test_calls_of_a_store_are_counted_once_and_by_their_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr("soup.tracking.stopwatch.time.monotonic", clock)

    @clocked
    class Store:
        def outer(self) -> str:
            clock.now += 1
            return self.inner()

        def inner(self) -> str:
            clock.now += 2
            return "answer"

    before = waited()
    assert Store().outer() == "answer"
    other = threading.Thread(target=Store().inner)
    other.start()
    other.join()
    assert waited() - before == 3
