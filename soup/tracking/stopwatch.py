"""How long this process has waited for the tracking store, by thread."""

import functools
import inspect
import threading
import time
from collections import defaultdict
from typing import Any, TypeVar

Store = TypeVar("Store")

_waited: defaultdict[int, float] = defaultdict(float)
_within = threading.local()


def waited() -> float:
    """Seconds that the calling thread has spent in the store's methods so far."""
    return _waited[threading.get_ident()]


def clocked(store: type[Store]) -> type[Store]:
    """Count the time of a class's public methods; of calls within calls, the outermost alone."""
    for name, method in [*vars(store).items()]:
        if inspect.isfunction(method) and (not name.startswith("_") or name == "__init__"):
            setattr(store, name, _clocked(method))
    return store


def _clocked(method: Any) -> Any:
    @functools.wraps(method)
    def call(*given: Any, **named: Any) -> Any:
        if getattr(_within, "call", False):
            return method(*given, **named)
        _within.call, begun = True, time.monotonic()
        try:
            return method(*given, **named)
        finally:
            _within.call = False
            _waited[threading.get_ident()] += time.monotonic() - begun

    return call
