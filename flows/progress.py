"""How a sweep goes on: bars in the terminal, plain lines elsewhere, an artifact in Prefect."""

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self, cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from flows.stage import in_prefect


class SweepProgress:
    """One bar for the sweep and one for each fine-tune under way."""

    def __init__(self, steps: Mapping[str, int], console: Console) -> None:
        """
        Args:
            steps: how many each fine-tune takes.
        """
        self._steps = steps
        self._console = console
        self._lock = threading.Lock()
        self._done = dict.fromkeys(steps, 0)
        self._bars = Progress(
            TextColumn("{task.description:9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._sweep = self._bars.add_task("sweep", total=sum(steps.values()), note="")
        self._tasks: dict[str, TaskID] = {}
        self._finished = 0
        self._artifact: UUID | None = None
        self._shown = 0.0

    def __enter__(self) -> Self:
        if in_prefect():
            made = create_progress_artifact(0.0, key="sweep", description="Fine-tuning steps done")
            self._artifact = cast(UUID, made)
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def step(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        with self._lock:
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, total=self._steps[name], note="")
            self._bars.update(self._tasks[name], completed=step)
            if "heldout/accuracy" in metrics:
                note = f"held-out {metrics['heldout/accuracy']:.2%}"
                self._bars.update(self._tasks[name], note=note)
            self._advance(name, step)

    def done(self, name: str, message: str) -> None:
        with self._lock:
            self._finished += 1
            if name in self._tasks:
                self._bars.update(self._tasks[name], visible=False)
            count = f"{self._finished}/{len(self._steps)}"
            self._console.print(f"  {name} [dim]{count}[/] {message}", soft_wrap=True)
            self._advance(name, self._steps[name])

    def say(self, message: str) -> None:
        with self._lock:
            self._console.print(f"  [yellow]{escape(message)}[/]", soft_wrap=True)

    def _advance(self, name: str, step: int) -> None:
        self._done[name] = step
        total = sum(self._done.values())
        self._bars.update(
            self._sweep, completed=total, note=f"{self._finished} of {len(self._steps)} fine-tunes"
        )
        share = 100 * total / sum(self._steps.values())
        if self._artifact and (share - self._shown >= 2 or share == 100):
            self._shown = share
            update_progress_artifact(self._artifact, share)
