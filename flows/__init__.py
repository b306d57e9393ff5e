"""The pipeline as Prefect flows: order, fan-out, retries. What is done stands in `soup/`."""

import atexit
import gc
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from soup.errors import hide_passwords, without_password

# Before Prefect is imported, which reads them. Nothing phones home unless the user asks for it; the
# terminal belongs to our own progress, while the server keeps every log line.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "300")
# infra/prefect/automations.yaml marks runs as crashed that miss four of these.
os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines a fine-tune

# `python -m flows...` begins here, and imports until `as_command`. What is imported is no garbage,
# and to look for some in it takes a sixth of the time. Other programs that import this never come
# to `as_command`, and are left alone.
if sys.argv[:1] == ["-m"] and " -m flows" in " ".join(sys.orig_argv):
    gc.disable()

_made = logging.getLogRecordFactory()


def _record(*arguments: Any, **named: Any) -> logging.LogRecord:
    """A log record of any library, without passwords: Prefect's server keeps them."""
    record = _made(*arguments, **named)
    if record.exc_info and record.exc_info[1] is not None:
        hide_passwords(record.exc_info[1])
    with suppress(TypeError, ValueError):  # what cannot be formatted is left to whoever does it
        text = record.getMessage()
        if (hidden := without_password(text)) != text:
            record.msg, record.args = hidden, ()
    return record


logging.setLogRecordFactory(_record)


_exit_code: int | None = None  # of the command that this process is; None where it is none


@contextmanager
def as_command() -> Iterator[None]:
    """End the process after the block without taking apart what was imported, which takes seconds.

    What is to be done at exit is done: threads are waited for, and exit functions are called.
    """
    global _exit_code  # noqa: PLW0603 - read when the process ends
    _exit_code = 1
    gc.enable()
    try:
        yield
        _exit_code = 0
    except SystemExit as end:
        _exit_code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    except KeyboardInterrupt:
        _exit_code = 128 + signal.SIGINT
        raise


def _leave() -> None:
    if _exit_code is None:
        return
    logging.shutdown()
    with suppress(OSError, ValueError):  # nobody reads them any more
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(_exit_code)


# The first to be registered is called last: Prefect and others register theirs when imported.
atexit.register(_leave)
