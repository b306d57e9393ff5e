"""Waiting for what a test brought about, however slow the machine is."""

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 900.0  # seconds: a last resort, for what never comes about
Found = TypeVar("Found")


def until(found: Callable[[], Found | None], what: str, every: float = 0.05) -> Found:
    """The first answer that is something."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        answer = found()
        if answer:
            return answer
        time.sleep(every)
    raise AssertionError(f"not in {PATIENCE:.0f} s: {what}")
