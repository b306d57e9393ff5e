"""How a sweep goes on: a bar for it and one for each fine-tune, and an artifact in Prefect."""

import threading
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Self, cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from rich.markup import escape

from flows.progress import Display, Task
from flows.stage import in_prefect

SELDOM = 60.0  # seconds between the lines of one fine-tune


class SweepProgress:
    """Is told by the fine-tunes, from their threads."""

    def __init__(self, steps: Mapping[str, int], batch_size: int, display: Display) -> None:
        """
        Args:
            steps: how many each fine-tune takes.
            batch_size: images in a step.
        """
        self._steps = steps
        self._batch = batch_size
        self._display = display
        self._lock = threading.Lock()
        self._done = dict.fromkeys(steps, 0)
        self._tasks: dict[str, Task] = {}
        self._finished: set[str] = set()
        self._artifact: UUID | None = None
        self._shown = 0.0

    def __enter__(self) -> Self:
        if in_prefect():
            made = create_progress_artifact(0.0, key="sweep", description="Fine-tuning steps done")
            self._artifact = cast(UUID, made)
        self._sweep = self._display.begin("sweep", sum(self._steps.values()) * self._batch)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in (self._sweep, *self._tasks.values()):
            task.end()

    def step(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        with self._lock:
            # What is heard of first may have gone on from a state that was kept.
            known = name in self._tasks
            if not known:
                total = self._steps[name] * self._batch
                self._tasks[name] = self._display.begin(name, total, every=SELDOM)
            note = None
            if "heldout/accuracy" in metrics:
                note = f"held-out {metrics['heldout/accuracy']:.2%}"
            self._tasks[name].to(step * self._batch, note, worked=known)
            self._done[name] = step
            self._show(worked=known)

    def found(self, names: Collection[str]) -> None:
        """These were finished before."""
        if names:
            self._finished.update(names)
            self._display.say(f"  {len(names)} of {len(self._steps)} fine-tunes finished before")
            self._done |= {name: self._steps[name] for name in names}
            self._show(worked=False)

    def done(self, name: str, message: str) -> None:
        with self._lock:
            self._finished.add(name)
            if name in self._tasks:
                self._tasks.pop(name).end()
            count = f"{len(self._finished)}/{len(self._steps)}"
            self._display.say(f"  {name} [dim]{count}[/] {escape(message)}")
            self._done[name] = self._steps[name]
            self._show(worked=False)

    def say(self, message: str) -> None:
        self._display.say(f"  [yellow]{escape(message)}[/]")

    def _show(self, worked: bool) -> None:
        done = sum(self._done.values())
        note = f"{len(self._finished)} of {len(self._steps)} fine-tunes"
        self._sweep.to(done * self._batch, note, worked)
        share = 100 * done / sum(self._steps.values())
        if self._artifact and (share - self._shown >= 2 or share == 100):
            self._shown = share
            update_progress_artifact(self._artifact, share)
