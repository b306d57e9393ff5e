"""The command of a flow: its options, its exit codes, and what it prints of an error."""

import os
import signal
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from prefect import Flow
from rich.text import Text

from flows import project
from flows.head_start import head_start
from flows.project import Record
from flows.server.client import require
from flows.server.temporary import temporary_server
from flows.signals import stoppable
from flows.stage import line_of
from flows.time_spent import time_spent
from soup.config.params import load
from soup.errors import BadInput, full_disk, hide_passwords, tells_what
from soup.pipeline.stage_record import require_sections

EXIT_CODES = "exit codes: 0 done, 1 failed, 2 bad input; 130 and 143 stopped (start again to go on)"


def run(flow: Flow[..., Record], file: str, quiet: bool = False, engine: bool = False) -> None:
    """Run a flow on a parameter file; exits unless it succeeds.

    Exit codes: 1 failed, 2 bad input (nothing was trained), 130 and 143 stopped by Ctrl-C and
    SIGTERM.

    Args:
        flow: takes the parameters.
        file: the parameter file.
        quiet: print nothing but the summary and errors.
        engine: run it by Prefect's engine, on a temporary server if no other is configured. A stage
            on its own goes without: starting a server to record one call costs more than most
            stages. Where a Prefect API is configured, every flow is run by the engine.
    """
    if quiet:
        project.display().mode = "quiet"
    signal.signal(signal.SIGTERM, _stop)
    time_spent.restart(of_process=True)
    try:
        with stoppable(project.say, last=True), ExitStack() as server:
            params = load(file)
            if "DVC_STAGE" in os.environ:  # DVC itself fails at the first stage that lacks one
                require_sections(Path(file), project.root())
            by_engine = engine or bool(os.environ.get("PREFECT_API_URL"))
            if by_engine:
                require()
                with time_spent.part("start Prefect, import"):
                    meanwhile = partial(head_start, params) if engine else lambda: None
                    server.enter_context(temporary_server(meanwhile))
            record = flow(params) if by_engine else flow.fn(params)
        if quiet and "stage" in record:  # the pipeline prints a summary of its own
            project.console().print(*line_of(record), soft_wrap=True)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except (BadInput, FileNotFoundError) as error:
        print_error(error)
        sys.exit(2)
    except Exception as error:
        hide_passwords(error)
        reason: Any = full_disk(error) or error
        if not tells_what(reason):
            raise
        print_error(reason)
        sys.exit(1)


def print_error(error: BaseException) -> None:
    """Print an error's message, whose kind of error says enough without a traceback."""
    project.console().print(Text("error:", "red"), str(error), soft_wrap=True)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)
