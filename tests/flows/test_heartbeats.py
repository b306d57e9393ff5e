"""The heartbeats of a flow: they go on while it does, and its end does not wait for them."""

import logging
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from prefect import flow_engine

import flows.project  # noqa: F401 - which every flow of ours imports
from tests.waiting import until


def test_the_end_of_a_flow_does_not_wait_for_its_heartbeats(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[object] = []
    joined: list[threading.Thread] = []
    over = threading.Event()
    engine: Any = SimpleNamespace(
        heartbeat_seconds=30,
        flow_run=None,
        logger=logging.getLogger("test"),
        _build_heartbeat_event_template=lambda: ("resource", "related"),
        _emit_flow_run_heartbeat=lambda *what: sent.append(what),
    )
    monkeypatch.setattr(flow_engine, "time", SimpleNamespace(sleep=lambda _: over.wait()))
    monkeypatch.setattr(threading.Thread, "join", lambda self, timeout=None: joined.append(self))
    with flow_engine._send_heartbeats(engine):
        until(lambda: sent, "a heartbeat")
    over.set()
    assert not joined
    assert sent == [("resource", "related")]


def test_prefect_asks_for_heartbeats_by_the_name_that_is_replaced() -> None:
    run_context: Any = flow_engine.FlowRunEngine.run_context
    assert "_send_heartbeats" in run_context.__wrapped__.__code__.co_names
