"""Calls to other processes, whatever carries them: what all of them share."""

import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flows.runners.event_log import Reader, Refused, follow
from flows.runners.job_file import Order
from flows.runners.runner import Runner
from soup.pipeline.project import Project
from soup.pipeline.sweep.devices import Capacity
from soup.pipeline.sweep.sweep import Sweep, Watcher
from soup.train.worker_process import Crashed

LATE = 60.0  # seconds that a file system shared by hosts may show what was before


@dataclass(frozen=True)
class Call:
    """What a worker is asked for; the arguments of `flows.runners.worker.carry_out`."""

    root: str
    folder: str
    journal: str
    name: str
    until: float


@dataclass(frozen=True)
class Sent:
    """A call on its way.

    Attributes:
        over: whether the worker is done with it, in whatever way.
        ending: how it ended, '' if as it should; raises Refused if the worker says that it cannot.
    """

    over: Callable[[], bool]
    ending: Callable[[], str]


@contextmanager
def posted(
    project: Project, code: str, sweep: Sweep, room: Capacity | None = None
) -> Iterator[str]:
    """The folder of a sweep's order and journals, relative to the project, for a while.

    Args:
        room: what a fine-tune has; default: what the worker's machine has.
    """
    folder = Order.of(project, code, sweep, room).write(project)
    try:
        yield folder
    finally:
        shutil.rmtree(project.root / folder, ignore_errors=True)


def runner(
    project: Project,
    folder: str,
    watcher: Watcher,
    slots: int,
    send: Callable[[Call, Reader], Sent],
) -> Runner:
    """A runner that sends each call, and follows its journal."""
    numbers = itertools.count()
    refused: list[Refused] = []
    worked: list[str] = []

    def call(name: str, until: float) -> Any:
        if refused and not worked:
            raise refused[0]
        journal = f"{name}-{next(numbers)}.jsonl"
        reader = Reader(project.root / folder / journal, watcher)
        sent = send(Call(str(project.root), folder, journal, name, until), reader)
        follow(reader, sent.over)
        try:
            ending = "" if reader.ended else sent.ending()
            if not ending:
                begun = time.monotonic()
                follow(reader, lambda: reader.ended or time.monotonic() - begun > LATE)
            made = reader.outcome(ending or f"nothing of it is in {project.root / folder}")
        except Refused as error:
            # Of the first, it is the set-up; of one among many, that host, at that moment.
            if worked:
                raise Crashed(str(error)) from None
            refused.append(error)
            raise
        worked.append(name)
        return made

    return Runner(slots, call)
