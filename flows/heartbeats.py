"""Prefect's heartbeats of a flow on a configured server, which its end need not wait for."""

from functools import partial
from typing import Any

from prefect import flow_engine


def do_not_wait() -> None:
    """Let flows end at once, and not when the thread of their heartbeats wakes, up to 1 s later.

    The thread sends nothing once the flow is over. Prefect lets it run out for flows that are
    coroutines; a pipeline of ours has ten flows that are not.
    """
    engine: Any = flow_engine
    if hasattr(engine, "_send_heartbeats"):  # which is private: another Prefect may have none
        engine._send_heartbeats = partial(engine._send_heartbeats, join_on_exit=False)
