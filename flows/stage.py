"""A stage of the pipeline: reused if it was done before with the same digest, else run."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout
from rich.text import Text

from flows import project
from flows.project import Record, open_project, say
from flows.signals import stoppable
from flows.terminal import logs
from soup.config.params import Params
from soup.errors import BadInput, hide_passwords
from soup.pipeline.project import Project
from soup.pipeline.stage_record import Stage, stage


def reuse(
    name: str,
    params: Params,
    work: Callable[[Project, Stage], Record],
    still_valid: Callable[[Record], bool] = lambda _: True,
) -> Record:
    """Return the record of a stage: of an earlier run with the same digest, or of `work`, run now.

    Args:
        name: of the stage.
        params: of the experiment.
        work: does the stage; gets the project and the stage's digests, returns facts for the
            record.
        still_valid: whether what the stage read outside of the project is as its record says.
    """
    with logs.log_context(stage=name), stoppable(say), _lock(name, params):
        definition = stage(name, params, project.root())
        record = definition.finished()
        if record is not None and still_valid(record):
            say(f"{name:9} done before, reused", style="dim")
            return record
        # The bar of the stage; those of its parts come below.
        with _runs_end_with_stage(), project.display().track(name):
            record = definition.finish(work(open_project(params), definition))
        say(*line_of(record))
        return record


def require_done(name: str, params: Params) -> Record:
    """Return the record of a stage that must have been run.

    Raises:
        BadInput: it was not run, or something that it depends on has changed.
    """
    try:
        record = stage(name, params, project.root()).finished()
    except FileNotFoundError:
        record = None
    if record is None:
        raise BadInput(
            f"{name} is not done for these parameters of {params.experiment}; "
            "run the sweep of them first (sweep-only, or the pipeline)"
        )
    return record


def line_of(record: Record) -> tuple[Text, str]:
    """What a stage did, as the parts of a line."""
    return Text(f"{record['stage']:9}", "bold"), f"{record['seconds']:6.1f} s  {record['summary']}"


@contextmanager
def _lock(name: str, params: Params) -> Iterator[None]:
    """Of two pipelines on one experiment, let the second wait; it then finds the stage done."""
    path = open_project(params).cache / "locks" / f"{params.experiment}-{name}.lock"
    lock = FileLock(path)
    try:
        held = lock.acquire(blocking=False)
    except Timeout:
        say(f"{name:9} waits for another pipeline that is at it ({path})", style="dim")
        held = lock.acquire()
    with held:
        yield


@contextmanager
def _runs_end_with_stage() -> Iterator[None]:
    """End the MLflow runs that are open, if an error or a signal ends the stage.

    Prefect keeps the text of what ends a flow, which is therefore told without passwords.
    """
    try:
        yield
    except BaseException as error:
        hide_passwords(error)
        # Where soup.tracking was not imported, no run was begun.
        if "soup.tracking" in sys.modules:
            from soup.tracking import end_open_runs

            end_open_runs(error)
        raise
