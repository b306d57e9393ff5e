"""Logs for machines: with MODELSOUP_LOG=json, a JSON object a line on stderr in place of bars.

Every line says what it belongs to: Prefect's flow run, the stage, and where a line is about one,
the fine-tune and MLflow's run.
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
from typing import Any

from prefect.runtime import flow_run
from rich.console import Console

from soup.errors import without_password

log = logging.getLogger("modelsoup")
_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {
    "message",
    "asctime",
}
_context: ContextVar[dict[str, str]] = ContextVar("context", default={})  # noqa: B039 - never changed


def wanted() -> bool:
    """Whether the environment asks for lines of JSON."""
    return os.environ.get("MODELSOUP_LOG") == "json"


class MaskingConsole(Console):
    """A console that shows text as it is, but masks user and password in every address.

    Names may hold what Rich reads as markup or an emoji; styles come as `Text`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        shown = (without_password(text) if isinstance(text, str) else text for text in objects)
        super().print(*shown, **options)


class Lines(logging.Formatter):
    """A record as a line of JSON: time (UTC), level, message, what it belongs to, its fields."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": when, "level": record.levelname.lower(), "message": record.getMessage()}
        run_id = flow_run.get_id()
        line |= ({"flow_run": run_id} if run_id else {}) | _context.get()
        line |= {k: v for k, v in vars(record).items() if k not in _STANDARD and v is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return without_password(json.dumps(line, default=str))


class _LoggedText(io.TextIOBase):
    """A file for a console to print to: every line of text becomes a log record."""

    def __init__(self) -> None:
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in filter(str.strip, lines):
            level = logging.ERROR if line.startswith("error:") else logging.INFO
            log.log(level, line.strip())
        return len(text)


def console() -> Console:
    """Make the console that flows print to: the terminal, or lines of JSON.

    For lines of JSON it also sets up the logger `modelsoup`, and logs warnings and uncaught errors.
    """
    if not wanted():
        return MaskingConsole(stderr=True)
    if not log.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(Lines())
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
        logging.captureWarnings(True)
        logging.getLogger("py.warnings").addHandler(handler)
        sys.excepthook = _uncaught
    return MaskingConsole(file=_LoggedText(), width=200)


@contextmanager
def log_context(**fields: str) -> Iterator[None]:
    """Add fields to every line that is logged within."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical(f"{kind.__name__}: {error}", exc_info=(kind, error, trace))
