"""What Ray and work pools share: a fine-tune is sent to a worker, and its event log followed."""

import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flows.runners.event_log import Reader, Refused, follow
from flows.runners.job_file import JobFile
from flows.runners.runner import Runner
from soup.pipeline.project import Project
from soup.pipeline.sweep.devices import Capacity
from soup.pipeline.sweep.sweep import Sweep
from soup.pipeline.sweep.watcher import Watcher
from soup.train.worker_process import Crashed

STALE = 60.0  # seconds for which a file system that hosts share may show what was before


@dataclass(frozen=True)
class Sent:
    """A call that a worker has, or waits for one.

    Attributes:
        over: whether the worker is done with it, in whatever way.
        ending: how it ended, '' if as it should; raises Refused if the worker says that it cannot.
    """

    over: Callable[[], bool]
    ending: Callable[[], str]


@contextmanager
def job_folder(
    project: Project, code: str, sweep: Sweep, capacity: Capacity | None = None
) -> Iterator[str]:
    """Make the folder of a sweep's job file and event logs, and remove it at the end.

    Args:
        project: of the sweep.
        code: digest of the source files that a fine-tune's result depends on.
        sweep: the sweep.
        capacity: what each fine-tune has; default: what the worker's machine has.

    Yields:
        The folder, relative to the project's.
    """
    folder = JobFile.of(project, code, sweep, capacity).write(project)
    try:
        yield folder
    finally:
        shutil.rmtree(project.root / folder, ignore_errors=True)


def runner(
    project: Project,
    folder: str,
    watcher: Watcher,
    slots: int,
    send: Callable[[str, str, float, Reader], Sent],
) -> Runner:
    """A runner that sends each call to a worker, and follows its event log.

    Args:
        project: of the sweep.
        folder: as `job_folder` yields it.
        watcher: is told what the event logs say.
        slots: how many calls may be under way at once.
        send: has a worker call `flows.runners.worker.carry_out` on this folder; gets the other
            arguments of that, the name of the event log first, and the reader of the log.
    """
    numbers = itertools.count()
    refusals: list[Refused] = []
    succeeded: list[str] = []

    def call(name: str, until: float) -> Any:
        if refusals and not succeeded:
            raise refusals[0]
        events = f"{name}-{next(numbers)}.jsonl"
        reader = Reader(project.root / folder / events, watcher)
        sent = send(events, name, until, reader)
        follow(reader, sent.over)
        try:
            ending = "" if reader.ended else sent.ending()
            if not ending:
                begun = time.monotonic()
                follow(reader, lambda: reader.ended or time.monotonic() - begun > STALE)
            outcome = reader.outcome(ending or f"nothing of it is in {project.root / folder}")
        except Refused as error:
            # If all are refused, the set-up is wrong; one among many, its host at that moment.
            if succeeded:
                raise Crashed(str(error)) from None
            refusals.append(error)
            raise
        succeeded.append(name)
        return outcome

    return Runner(slots, call)
