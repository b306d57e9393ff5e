"""The state of a sweep: of each fine-tune, the pace of all, the time that is left."""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from soup.evaluation.score_text import ACCURACY, score_text
from soup.terminal.progress import Pace, duration, speed

State = Literal["waiting", "running", "finished", "failed", "stopped"]
STATES: tuple[State, ...] = ("waiting", "running", "finished", "failed", "stopped")


@dataclass
class FineTune:
    """What is known of one fine-tune.

    Attributes:
        steps: how many steps it takes.
        state: where it stands.
        step: how many steps are done.
        score: its last score on held-out, a fraction.
        note: how it ended.
    """

    steps: int
    state: State = "waiting"
    step: int = 0
    score: float | None = None
    note: str = ""

    @property
    def ended(self) -> bool:
        return self.state not in ("waiting", "running")


class SweepState:
    """The state of a sweep, kept up to date by what `SweepProgress` is told."""

    def __init__(
        self,
        steps: Mapping[str, int],
        batch_size: int,
        clock: Callable[[], float] = time.monotonic,
        score: str = ACCURACY,
        unit: str = "images",
    ) -> None:
        """
        Args:
            steps: by fine-tune, how many steps it takes.
            batch_size: examples in a step.
            clock: in seconds.
            score: name of the score that fine-tunes are compared by.
            unit: what the examples are, for people.
        """
        self.score, self._unit = score, unit
        self.fine_tunes = {name: FineTune(total) for name, total in steps.items()}
        self._batch = batch_size
        self._pace = Pace(clock)
        self._pace.to(0)

    def step(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        """A fine-tune has done so many steps.

        Args:
            name: of the fine-tune.
            step: how many are done.
            metrics: of the last one, by name.
        """
        fine_tune = self.fine_tunes[name]
        if fine_tune.state == "waiting":  # it may begin at the step of its checkpoint
            self._pace.skip((step - fine_tune.step) * self._batch)
        fine_tune.state, fine_tune.step, fine_tune.note = "running", step, ""
        fine_tune.score = metrics.get(f"heldout/{self.score}", fine_tune.score)
        self._pace.to(self.steps_done * self._batch)

    def done(self, name: str, message: str) -> None:
        """A fine-tune ended; unfinished if the message begins with 'failed' or 'stopped'."""
        fine_tune = self.fine_tunes[name]
        word = message.split(maxsplit=1)[0].rstrip(":") if message else ""
        fine_tune.state = word if word in ("failed", "stopped") else "finished"  # type: ignore[assignment]
        fine_tune.note = message
        if fine_tune.state == "finished":
            self._pace.skip((fine_tune.steps - fine_tune.step) * self._batch)
            fine_tune.step = fine_tune.steps
        self._pace.to(self.steps_done * self._batch)

    @property
    def steps_done(self) -> int:
        return sum(fine_tune.step for fine_tune in self.fine_tunes.values())

    @property
    def ended(self) -> int:
        """How many fine-tunes are over, however they ended."""
        return sum(fine_tune.ended for fine_tune in self.fine_tunes.values())

    @property
    def steps_over(self) -> int:
        """Steps that are done, or will never be: of a fine-tune that ended, all."""
        return sum(f.steps if f.ended else f.step for f in self.fine_tunes.values())

    @property
    def steps(self) -> int:
        """Steps of all fine-tunes."""
        return sum(fine_tune.steps for fine_tune in self.fine_tunes.values())

    @property
    def counts(self) -> dict[State, int]:
        """How many fine-tunes are in each state."""
        counts = Counter(fine_tune.state for fine_tune in self.fine_tunes.values())
        return {state: counts[state] for state in STATES}

    @property
    def best(self) -> float | None:
        """The best score on held-out so far, a fraction; None before the first."""
        scores = [fine_tune.score for fine_tune in self.fine_tunes.values()]
        return max((s for s in scores if s is not None and not math.isnan(s)), default=None)

    @property
    def rate(self) -> float:
        """Training examples a second, over the last half minute."""
        return self._pace.rate or 0.0

    @property
    def eta(self) -> float | None:
        """Seconds until the last fine-tune is done; None while the pace is not known."""
        left = self.steps - self.steps_over
        if not left:
            return 0.0
        return left * self._batch / self.rate if self.rate else None

    def rows(self) -> list[dict[str, str]]:
        """A table for people: a row for each fine-tune."""
        return [
            {
                "fine-tune": name,
                "state": fine_tune.state,
                "steps": f"{fine_tune.step:,} of {fine_tune.steps:,}",
                "held-out": ""
                if fine_tune.score is None
                else score_text(self.score, fine_tune.score),
                "note": fine_tune.note,
            }
            for name, fine_tune in self.fine_tunes.items()
        ]

    def sentence(self) -> str:
        """A sentence for people: '3 of 8 finished, 2 running, best 91.20% held-out, 7 min left'."""
        counts = self.counts
        parts = [f"{counts['finished']} of {len(self.fine_tunes)} finished"]
        others: tuple[State, ...] = ("running", "failed", "stopped")
        parts += [f"{counts[state]} {state}" for state in others if counts[state]]
        if self.best is not None:
            parts.append(f"best {score_text(self.score, self.best)} held-out")
        if self.eta:
            parts.append(f"{speed(self.rate, self._unit)}, {duration(self.eta)} left")
        return ", ".join(parts)
