"""What every stage shares: its place in the project, reuse by digest, and its command line."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from filelock import FileLock, Timeout
from prefect import Flow
from prefect.context import FlowRunContext
from rich.markup import escape

from flows.server.client import require
from flows.server.temporary import temporary_server
from flows.signals import stoppable
from flows.terminal import logs
from flows.terminal.progress import Display
from soup.config.params import Params, load
from soup.errors import BadInput, Failure, full_disk
from soup.pipeline.project import Project
from soup.pipeline.stage_record import Stage, stage

# A worker runs flows from a checkout that need not be the one it imports them from.
ROOT = Path(os.environ.get("MODELSOUP_ROOT") or Path(__file__).parents[1]).resolve()
Record = dict[str, Any]
console = logs.console()
display = Display(console)

try:
    # The default of every flow, so that the form of a deployment opens filled in.
    DEFAULT = load(ROOT / "params.yaml")
except BadInput as error:
    console.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
    sys.exit(2)


def open_project(params: Params) -> Project:
    """The checkout that this module is in, with the Prefect flow run as a tag if there is one."""
    context = FlowRunContext.get()
    known = context.flow_run if context else None
    tags = {"flow_run": str(known.id)} if known else {}
    return Project(ROOT, params, tags, display.say, display.track)


def in_prefect() -> bool:
    """Whether a Prefect flow run is under way, to which artifacts can be attached."""
    return FlowRunContext.get() is not None


def reuse(
    name: str,
    params: Params,
    work: Callable[[Project, Stage], Record],
    still: Callable[[Record], bool] = lambda _: True,
) -> Record:
    """The record of a stage: of an earlier run with the same digest, or made by `work` now.

    Args:
        work: (project, the stage and its digests) -> facts for the record.
        still: whether what the stage found outside of the project is as the record says.
    """
    with logs.log_context(stage=name), stoppable(display.say), _lock(name, params):
        now = stage(name, params, ROOT)
        record = now.finished()
        if record is not None and still(record):
            display.say(f"[dim]{name:9} done before, reused")
            return record
        # Under the bars of its parts, if it has any.
        with _interruptible(), display.track(name):
            record = now.finish(work(open_project(params), now))
        display.say(_line(record))
        return record


def require_done(name: str, params: Params) -> Record:
    """The record of a stage that is to be done already.

    Raises:
        BadInput: it is not, or something that it was made of has changed.
    """
    try:
        record = stage(name, params, ROOT).finished()
    except FileNotFoundError:
        record = None
    if record is None:
        raise BadInput(
            f"{name} is not done for these parameters of {params.experiment}; "
            "run the sweep of them first (sweep-only, or the pipeline)"
        )
    return record


@contextmanager
def _lock(name: str, params: Params) -> Iterator[None]:
    """Of two pipelines on one experiment the second waits, and then finds the stage done."""
    project = open_project(params)
    path = project.cache / "locks" / f"{params.experiment}-{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        display.say(f"[dim]{name:9} waits for another pipeline that is at it ({path})")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _interruptible() -> Iterator[None]:
    """What a signal interrupts is marked so in MLflow, and so is what cannot go on."""
    try:
        yield
    except BaseException as error:
        if (isinstance(error, Failure) or not isinstance(error, Exception)) and (
            "soup.tracking" in sys.modules  # what was not imported has begun no run
        ):
            from soup.tracking import mark_open_runs_killed

            mark_open_runs_killed()
        raise


def _line(record: Record) -> str:
    name, seconds = record["stage"], record["seconds"]
    return f"[bold]{name:9}[/] {seconds:6.1f} s  {escape(record['summary'])}"


def check(params: Params) -> None:
    """What can be known to be wrong before anything is started.

    Raises:
        ParamsError: the grid is smaller than the number of runs.
        NoDevices: one fine-tune is to have more devices than there are.
        BadInput: checkpoints to import are not there, timm has no such optimiser, or there is no
            place for fine-tunes as `compute.runner` and `compute.limit` say.
        TrackingError: MLflow does not answer, or does not reach its artifacts.
    """
    from flows.runners import require as require_place
    from soup.config.validation import ParamsError
    from soup.pipeline.sweep.imported_pool import pool_files
    from soup.pipeline.sweep.sampling import sample
    from soup.train.optimizer import require

    require_place(params)
    require(params.sweep.optimizer)
    try:
        sample(params.sweep)
    except ValueError as error:
        raise ParamsError(str(error)) from None
    project = open_project(params)
    if params.sweep.imported is not None:
        pool_files(project)
    project.store().require_artifacts()


def main(flow: Flow[[Params], Record], engine: bool = False) -> None:
    """The command of a flow: `python -m flows.<name> [--params FILE] [--quiet]`.

    Exit codes: 0 done, 1 failed, 2 bad input (nothing was trained), 130 and 143 stopped by Ctrl-C
    and SIGTERM.

    Args:
        engine: run it by Prefect's engine, on a temporary server if there is no other. A stage on
            its own does so only where a Prefect API is configured, and is else the plain function
            that it is: starting a server to record one call costs more than most stages.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m flows.{flow.name}",
        description=flow.description or flow.fn.__doc__,
        epilog="exit codes: 0 done, 1 failed, 2 bad input; 130 and 143 stopped (start again to "
        "go on)",
    )
    parser.add_argument("--params", default=str(ROOT / "params.yaml"), help="parameter file")
    parser.add_argument("--quiet", action="store_true", help="only the summary and errors")
    arguments = parser.parse_args()
    if arguments.quiet:
        display.mode = "quiet"
    signal.signal(signal.SIGTERM, _stop)
    try:
        with stoppable(display.say, last=True), ExitStack() as running:
            params = load(arguments.params)
            by_engine = engine or bool(os.environ.get("PREFECT_API_URL"))
            if by_engine:
                require()
                running.enter_context(temporary_server())
            record = flow(params) if by_engine else flow.fn(params)
        if arguments.quiet and "stage" in record:  # the pipeline prints a summary of its own
            console.print(_line(record), soft_wrap=True)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except (BadInput, FileNotFoundError) as error:
        console.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(2)
    except Exception as error:
        known = full_disk(error) or error
        if not isinstance(known, (Failure, OSError)):
            raise
        console.print(f"[red]error:[/] {escape(str(known))}", soft_wrap=True)
        sys.exit(1)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)
