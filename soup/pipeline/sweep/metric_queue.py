"""Metrics on their way to the tracking store, which nobody waits for while a fine-tune trains."""

import contextvars
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

SECONDS = 1.0  # between two requests
Steps = dict[int, dict[str, float]]


class MetricQueue:
    """Sends metrics in the background, those of a second together.

    The messages of a fine-tune are then read as they come. The last one, that its devices are free,
    does not wait until a server has taken those before it.
    """

    def __init__(self, send: Callable[[Steps], object], seconds: float = SECONDS) -> None:
        """
        Args:
            send: takes metrics by step; is called in another thread.
            seconds: between two calls of it.
        """
        self._send, self._seconds = send, seconds
        self._waiting: Steps = {}
        self._lock = threading.Lock()
        self._some, self._last = threading.Event(), threading.Event()
        self._error: Exception | None = None
        context = contextvars.copy_context()  # what log lines of the client belong to
        self._thread = threading.Thread(target=context.run, args=(self._work,), daemon=True)

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take the metrics of a step.

        Raises:
            Exception: what `send` raised, for metrics before these.
        """
        if self._error is not None:
            raise self._error
        with self._lock:
            self._waiting.setdefault(step, {}).update(metrics)
        self._some.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Send what is left. An error of that is raised unless another one ends the block."""
        self._last.set()
        self._some.set()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def _work(self) -> None:
        try:
            while not self._last.is_set():
                self._some.wait()
                self._some.clear()
                self._send_waiting()
                self._last.wait(self._seconds)
            self._send_waiting()
        except Exception as error:
            self._error = error

    def _send_waiting(self) -> None:
        with self._lock:
            steps, self._waiting = self._waiting, {}
        if steps:
            self._send(steps)
