"""Metrics that are sent in the background: all of them, few requests, and errors that are told."""

import threading
from contextvars import ContextVar

import pytest

from soup.pipeline.sweep.metric_queue import MetricQueue, Steps
from tests.waiting import PATIENCE, until

WHERE: ContextVar[str] = ContextVar("where", default="nowhere")


class Server:
    """Takes metrics once it is let to."""

    def __init__(self) -> None:
        self.asked, self.takes = threading.Event(), threading.Event()
        self.taken: list[Steps] = []

    def __call__(self, steps: Steps) -> None:
        self.asked.set()
        assert self.takes.wait(PATIENCE)
        self.taken.append(steps)


def test_nobody_waits_and_what_comes_meanwhile_is_one_request() -> None:
    server = Server()
    with MetricQueue(server, seconds=0) as metrics:
        metrics.add(10, {"train/loss": 1.0})
        assert server.asked.wait(PATIENCE)
        for step in (20, 30):
            metrics.add(step, {"train/loss": 1 / step})
        metrics.add(30, {"heldout/accuracy": 0.5})
        assert server.taken == []
        server.takes.set()
    last = {20: {"train/loss": 1 / 20}, 30: {"train/loss": 1 / 30, "heldout/accuracy": 0.5}}
    assert server.taken == [{10: {"train/loss": 1.0}}, last]


def test_those_of_a_while_are_sent_together_and_the_end_does_not_wait_for_it() -> None:
    server = Server()
    server.takes.set()
    with MetricQueue(server, seconds=PATIENCE) as metrics:
        metrics.add(10, {"train/loss": 1.0})
        until(lambda: server.taken, "the first metrics")
        metrics.add(20, {"train/loss": 0.5})
        metrics.add(30, {"train/loss": 0.2})
        assert len(server.taken) == 1
    assert server.taken[1:] == [{20: {"train/loss": 0.5}, 30: {"train/loss": 0.2}}]


def test_metrics_are_sent_while_no_others_come() -> None:
    server = Server()
    server.takes.set()
    with MetricQueue(server, seconds=0.01) as metrics:
        for step in (10, 20):
            metrics.add(step, {"train/loss": 1.0})
            until(lambda: step in server.taken[-1] if server.taken else None, "its metrics")  # noqa: B023


def refuses(_: Steps) -> None:
    raise ConnectionError("no tracking server")


def test_an_error_is_raised_for_the_next_metrics() -> None:
    def trains() -> None:
        with MetricQueue(refuses) as metrics:
            while True:
                metrics.add(10, {"train/loss": 1.0})

    with pytest.raises(ConnectionError, match="no tracking server"):
        trains()


def test_an_error_of_the_last_metrics_is_raised_at_the_end() -> None:
    def trains() -> None:
        with MetricQueue(refuses) as metrics:
            metrics.add(10, {"train/loss": 1.0})

    with pytest.raises(ConnectionError, match="no tracking server"):
        trains()


def test_an_error_of_the_fine_tune_is_not_hidden_by_one_of_the_server() -> None:
    def diverges() -> None:
        with MetricQueue(refuses) as metrics:
            metrics.add(10, {"train/loss": 1.0})
            raise ValueError("it diverged")

    with pytest.raises(ValueError, match="it diverged"):
        diverges()


def test_what_is_logged_on_the_way_belongs_to_what_it_belongs_to_here() -> None:
    seen: list[str] = []
    token = WHERE.set("here")
    try:
        with MetricQueue(lambda _: seen.append(WHERE.get())) as metrics:
            metrics.add(10, {})
    finally:
        WHERE.reset(token)
    assert seen == ["here"]
