"""Devices of this machine: never two fine-tunes on one, and none idle while a result is stored."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from queue import Queue
from typing import Any

import pytest

from flows.runners.local import local_runner
from soup.pipeline.sweep.devices import Devices
from tests.pipeline.projects import Silent
from tests.waiting import PATIENCE


class Stored:
    """A sweep whose fine-tunes take no time, and whose store waits for what each test says."""

    def __init__(self, until: Callable[[str], object]) -> None:
        self.until = until
        self.begun = {name: threading.Event() for name in "abcd"}
        self.busy: set[Devices] = set()
        self.lock = threading.Lock()

    def run(
        self, name: str, borrow: Callable[[], Devices], _: Any, release: Callable[[], None]
    ) -> str:
        devices = borrow()
        with self.lock:
            assert devices not in self.busy
            self.busy.add(devices)
        self.begun[name].set()
        with self.lock:
            self.busy.remove(devices)
        release()
        self.until(name)
        return name


def test_the_next_trains_while_one_is_stored() -> None:
    def until(name: str) -> None:
        assert name != "a" or sweep.begun["b"].wait(PATIENCE)

    sweep = Stored(until)
    runner = local_runner(sweep, [("cpu",)], False, Silent())  # type: ignore[arg-type]
    with ThreadPoolExecutor(runner.slots) as threads:
        assert [*threads.map(lambda name: runner.call(name, 1), "abcd")] == [*"abcd"]


def test_slots_that_others_share_are_not_held_by_one_that_waits() -> None:
    runner = local_runner(Stored(str), [("cpu",), ("cuda:0",)], True, Silent())  # type: ignore[arg-type]
    assert runner.slots == 2


def test_devices_come_back_when_a_fine_tune_fails() -> None:
    def fail(_: str) -> None:
        raise RuntimeError("the store is gone")

    runner = local_runner(Stored(fail), [("cpu",)], False, Silent())  # type: ignore[arg-type]
    for name in "abc":
        with pytest.raises(RuntimeError, match="the store is gone"):
            runner.call(name, 1)


def test_devices_are_given_back_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice, and two fine-tunes would meet on one."""
    made: list[Queue[Devices]] = []

    def queue() -> Queue[Devices]:
        made.append(Queue())
        return made[-1]

    monkeypatch.setattr(import_module("flows.runners.local"), "Queue", queue)
    sweep = Stored(str)
    runner = local_runner(sweep, [("cpu",)], False, Silent())  # type: ignore[arg-type]
    with ThreadPoolExecutor(4) as threads:
        [*threads.map(lambda name: runner.call(name, 1), "abcd")]
    (free,) = made
    assert [free.get_nowait() for _ in range(free.qsize())] == [("cpu",)]
