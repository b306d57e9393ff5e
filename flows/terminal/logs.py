"""Structured logs: a JSON object a line on stderr, when MODELSOUP_LOG=json; bars for people else.

Every line says what it belongs to: Prefect's flow run, the stage, and where one is meant, the
fine-tune and MLflow's run.
"""

import io
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType

from rich.console import Console

log = logging.getLogger("modelsoup")
_PLAIN = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime"}
_bound: ContextVar[dict[str, str]] = ContextVar("bound", default={})  # noqa: B039 - never changed


def wanted() -> bool:
    return os.environ.get("MODELSOUP_LOG") == "json"


class Lines(logging.Formatter):
    """A record as a line of JSON: time (UTC), level, message, what it belongs to, its fields."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": when, "level": record.levelname.lower(), "message": record.getMessage()}
        line |= {**_flow_run(), **_bound.get()}
        line |= {k: v for k, v in vars(record).items() if k not in _PLAIN and v is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _Printed(io.TextIOBase):
    """Where a console prints to: every line of text becomes a record."""

    def __init__(self) -> None:
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in filter(str.strip, lines):
            level = logging.ERROR if line.startswith("error:") else logging.INFO
            log.log(level, line.strip())
        return len(text)


def console() -> Console:
    """Where flows print: the terminal, or lines of JSON."""
    if not wanted():
        return Console(stderr=True, highlight=False)
    if not log.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(Lines())
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
        logging.captureWarnings(True)
        logging.getLogger("py.warnings").addHandler(handler)
        sys.excepthook = _uncaught
    return Console(file=_Printed(), highlight=False, width=200)  # type: ignore[arg-type]


@contextmanager
def log_context(**to: str) -> Iterator[None]:
    """Lines within say what they belong to."""
    token = _bound.set({**_bound.get(), **to})
    try:
        yield
    finally:
        _bound.reset(token)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical(f"{kind.__name__}: {error}", exc_info=(kind, error, trace))


def _flow_run() -> dict[str, str]:
    from prefect.context import FlowRunContext, TaskRunContext

    flow, task = FlowRunContext.get(), TaskRunContext.get()
    if flow and flow.flow_run:
        return {"flow_run": str(flow.flow_run.id)}
    if task and task.task_run.flow_run_id:
        return {"flow_run": str(task.task_run.flow_run_id)}
    return {}
