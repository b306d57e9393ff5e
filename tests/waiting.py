"""Waiting for what a test brought about, however slow the machine is."""

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 900.0  # seconds: a last resort, for what never comes about
Found = TypeVar("Found")


def until(found: Callable[[], Found | None], what: str, every: float | None = None) -> Found:
    """The first answer that is something.

    Args:
        every: seconds between questions; unless given, the longer it takes the longer, up to half a
            second, for a server that is asked often takes the processor from what is waited for.
    """
    started = time.monotonic()
    while (waited := time.monotonic() - started) < PATIENCE:
        answer = found()
        if answer:
            return answer
        time.sleep(every or min(max(waited / 20, 0.05), 0.5))
    raise AssertionError(f"not in {PATIENCE:.0f} s: {what}")
