"""The runs that this process has begun and not ended; an error ends them too, with the reason."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, Protocol

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from soup.tracking.server_check import away


class Tracker(Protocol):
    """Where runs are; a `Store` is one."""

    uri: str
    client: MlflowClient
    experiment_id: str

    def end(self, run_id: str, failed: str = "") -> None: ...


_open: dict[str, Tracker] = {}


def begun(store: Tracker, run_id: str) -> None:
    """Note that a run is under way."""
    _open[run_id] = store


def ended(run_id: str) -> None:
    """Note that a run is over."""
    _open.pop(run_id, None)


def end_with(store: Tracker, run_id: str, error: BaseException) -> None:
    """End a run as failed, with an error as the reason, or as killed, by a signal.

    If MLflow is what fails, the run stays as it is. `Store.start` opens it again in any case.
    """
    try:
        if away(store.uri):
            return
        if isinstance(error, Exception):
            store.end(run_id, failed=reason_of(error))
        else:
            store.client.set_terminated(run_id, "KILLED")
        # Those that were begun in other processes, which end with this one.
        children = f"tags.mlflow.parentRunId = '{run_id}' and attributes.status = 'RUNNING'"
        for child in store.client.search_runs([store.experiment_id], children):
            store.client.set_terminated(child.info.run_id, "KILLED")
    except MlflowException:
        pass
    finally:
        ended(run_id)


def reason_of(error: BaseException) -> str:
    """The text of an error, after its kind where it was not written for people."""
    kind, text = type(error).__name__, str(error)
    ours = type(error).__module__.startswith("soup.")
    return text if ours else f"{kind}: {text}" if text else kind


def end_open_runs(error: BaseException) -> None:
    """End the runs that are open, the newest first, as `end_with` does."""
    for run_id, store in reversed([*_open.items()]):
        end_with(store, run_id, error)


@contextmanager
def runs_end_with_block() -> Iterator[None]:
    """End the runs that are open when an error, Ctrl-C or SIGTERM ends the block."""
    try:
        with _sigterm_ends_block():
            yield
    except BaseException as error:
        end_open_runs(error)
        raise


@contextmanager
def _sigterm_ends_block() -> Iterator[None]:
    """Let SIGTERM end the block, and then the process, where nobody else handles it."""
    unhandled = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if not unhandled or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
