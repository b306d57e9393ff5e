"""How a sweep stands: the state of each fine-tune, the pace, the time that is left."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from flows.terminal.progress import Pace, duration

State = Literal["waiting", "running", "finished", "failed", "stopped"]
STATES: tuple[State, ...] = ("waiting", "running", "finished", "failed", "stopped")


@dataclass
class FineTune:
    """One of a sweep, as far as it has told of itself.

    Attributes:
        steps: how many it takes.
        step: how many are done.
        accuracy: held-out, the last heard of, a fraction.
        note: how it ended.
    """

    steps: int
    state: State = "waiting"
    step: int = 0
    accuracy: float | None = None
    note: str = ""


class SweepState:
    """Is told what `SweepProgress` is told."""

    def __init__(
        self,
        steps: Mapping[str, int],
        batch_size: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.fine_tunes = {name: FineTune(total) for name, total in steps.items()}
        self._batch = batch_size
        self._pace = Pace(clock)
        self._pace.to(0)

    def step(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        one = self.fine_tunes[name]
        if one.state == "waiting":  # what is heard of first may go on from a state that was kept
            self._pace.skip((step - one.step) * self._batch)
        one.state, one.step, one.note = "running", step, ""
        one.accuracy = metrics.get("heldout/accuracy", one.accuracy)
        self._pace.to(self.images_done)

    def done(self, name: str, message: str) -> None:
        """It ended: not finished if the message begins with 'failed' or 'stopped'."""
        one = self.fine_tunes[name]
        word = message.split(maxsplit=1)[0].rstrip(":") if message else ""
        one.state = word if word in ("failed", "stopped") else "finished"  # type: ignore[assignment]
        one.note = message
        if one.state == "finished":
            self._pace.skip((one.steps - one.step) * self._batch)
            one.step = one.steps
        self._pace.to(self.images_done)

    @property
    def images_done(self) -> int:
        return self.steps_done * self._batch

    @property
    def steps_done(self) -> int:
        return sum(one.step for one in self.fine_tunes.values())

    @property
    def steps(self) -> int:
        return sum(one.steps for one in self.fine_tunes.values())

    @property
    def counts(self) -> dict[State, int]:
        found = Counter(one.state for one in self.fine_tunes.values())
        return {state: found[state] for state in STATES}

    @property
    def best(self) -> float | None:
        """The best held-out accuracy so far."""
        known = [one.accuracy for one in self.fine_tunes.values() if one.accuracy is not None]
        return max(known, default=None)

    @property
    def rate(self) -> float:
        """Images a second, of the last while."""
        return self._pace.rate or 0.0

    @property
    def eta(self) -> float | None:
        """Seconds until the last fine-tune is done; None while the pace is not known."""
        left = sum(
            one.steps - one.step
            for one in self.fine_tunes.values()
            if one.state in ("waiting", "running")
        )
        if not left:
            return 0.0
        return left * self._batch / self.rate if self.rate else None

    def rows(self) -> list[dict[str, str]]:
        """A table for people."""
        return [
            {
                "fine-tune": name,
                "state": one.state,
                "steps": f"{one.step:,} of {one.steps:,}",
                "held-out": "" if one.accuracy is None else f"{one.accuracy:.2%}",
                "note": one.note,
            }
            for name, one in self.fine_tunes.items()
        ]

    def sentence(self) -> str:
        """'3 of 8 finished, 2 running, best 91.20% held-out, 7 min left'."""
        counts = self.counts
        parts = [f"{counts['finished']} of {len(self.fine_tunes)} finished"]
        others: tuple[State, ...] = ("running", "failed", "stopped")
        parts += [f"{counts[state]} {state}" for state in others if counts[state]]
        if self.best is not None:
            parts.append(f"best {self.best:.2%} held-out")
        if self.eta:
            parts.append(f"{self.rate:,.0f} images a second, {duration(self.eta)} left")
        return ", ".join(parts)
