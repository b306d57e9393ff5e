"""The progress of a sweep: bars in the terminal, artifacts in Prefect, figures for Prometheus."""

import json
import threading
from collections.abc import Collection, Mapping
from typing import Self, cast
from uuid import UUID

from prefect.artifacts import (
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from rich.text import Text

from flows.monitoring.prometheus import export_sweep
from flows.monitoring.sweep_state import SweepState
from flows.project import in_prefect
from flows.terminal.logs import log
from soup.evaluation.score_text import ACCURACY, score_text
from soup.terminal.progress import Display, Task

SELDOM = 60.0  # seconds between updates of the table
OFTEN = 5.0  # seconds between the figures for Prometheus, and between updates of the bar


class SweepProgress:
    """The watcher of a sweep on this machine; fine-tunes call it from their threads."""

    def __init__(
        self,
        steps: Mapping[str, int],
        batch_size: int,
        display: Display,
        experiment: str = "",
        score: str = ACCURACY,
        unit: str = "images",
    ) -> None:
        """
        Args:
            steps: by fine-tune, how many steps it takes.
            batch_size: examples in a step.
            display: shows the bars.
            experiment: label of the figures.
            score: name of the score that fine-tunes are compared by.
            unit: what the examples are, for people.
        """
        self.state = SweepState(steps, batch_size, display.clock, score, unit)
        self._metric, self._unit = f"heldout/{score}", unit
        self._experiment = experiment
        self._table: UUID | None = None
        self._updated = {"table": -SELDOM, "bar": -OFTEN, "figures": -OFTEN}
        self._batch = batch_size
        self._display = display
        self._lock = threading.Lock()
        self._tasks: dict[str, Task] = {}
        self._artifact: UUID | None = None
        self._shown = 0.0
        self._silent = False

    def __enter__(self) -> Self:
        if in_prefect():
            bar = create_progress_artifact(0.0, key="sweep", description="Fine-tuning steps done")
            self._artifact = cast(UUID, bar)
            rows, sentence = self.state.rows(), self.state.sentence()
            table = create_table_artifact(rows, key="fine-tunes", description=sentence)
            self._table = cast(UUID, table)
        self._sweep = self._display.begin("sweep", self.state.steps * self._batch, self._unit)
        self._publish()
        return self

    def __exit__(self, *_: object) -> None:
        for task in (self._sweep, *self._tasks.values()):
            task.end()
        with self._lock:
            self._publish(last=True)

    def step(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        with self._lock:
            # A fine-tune may begin at the step of its checkpoint: no work of now.
            begun = name in self._tasks
            if not begun:
                total = self.state.fine_tunes[name].steps * self._batch
                self._tasks[name] = self._display.begin(name, total, self._unit, part=True)
            note = None
            if self._metric in metrics:
                note = f"held-out {score_text(self.state.score, metrics[self._metric])}"
            self._tasks[name].to(step * self._batch, note, worked=begun)
            self.state.step(name, step, metrics)
            log.info("step", extra={"fine_tune": name, "step": step, **metrics})
            self._show(worked=begun)

    def finished_before(self, names: Collection[str]) -> None:
        """Count the fine-tunes of these names, which were finished when the sweep was opened."""
        if names:
            every = len(self.state.fine_tunes)
            self._display.say(f"  {len(names)} of {every} fine-tunes finished before")
            for name in names:
                self.state.done(name, "finished before")
            self._show(worked=False)

    def done(self, name: str, message: str) -> None:
        with self._lock:
            self.state.done(name, message)
            log.info("done", extra={"fine_tune": name, "outcome": message})
            if name in self._tasks:
                self._tasks.pop(name).end()
            count = f"{self.state.ended}/{len(self.state.fine_tunes)}"
            self._display.say(f"  {name}", Text(count, "dim"), message)
            self._show(worked=False)

    def say(self, message: str) -> None:
        self._display.say(f"  {message}", style="yellow")

    def _show(self, worked: bool) -> None:
        note = f"{self.state.ended} of {len(self.state.fine_tunes)} fine-tunes"
        self._sweep.to(self.state.steps_over * self._batch, note, worked)
        self._publish()

    def _publish(self, last: bool = False) -> None:
        """Update Prefect and Prometheus, each now and then; no error of that ends a fine-tune."""
        now = self._display.clock()
        try:
            if last or now - self._updated["figures"] >= OFTEN:
                self._updated["figures"] = now
                export_sweep(self._experiment, self.state, running=not last)
            share = 100 * self.state.steps_over / self.state.steps
            due = share - self._shown >= 2 and now - self._updated["bar"] >= OFTEN
            if self._artifact and (due or (last and share > self._shown)):
                self._updated["bar"], self._shown = now, share
                update_progress_artifact(self._artifact, share)
            if self._table and (last or now - self._updated["table"] >= SELDOM):
                self._updated["table"] = now
                self._update(self._table)
        except Exception as error:
            if not self._silent:
                self._silent = True
                self.say(f"progress is not shown everywhere: {type(error).__name__}: {error}")

    def _update(self, table: UUID) -> None:
        # A new artifact of the same key each time would leave thousands behind.
        data = json.dumps(self.state.rows())
        update = ArtifactUpdate(data=data, description=self.state.sentence())
        with get_client(sync_client=True) as client:
            client.update_artifact(table, update)
