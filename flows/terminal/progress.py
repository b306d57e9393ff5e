"""What is under way, with its pace and the time left: bars in a terminal, plain lines elsewhere."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

from soup.data.progress import Advance

WINDOW = 30.0  # seconds that a pace is measured over
EVERY = 10.0  # seconds between two lines of one task
Mode = Literal["bars", "lines", "quiet"]


@dataclass
class Pace:
    """Units a second over the last while."""

    clock: Callable[[], float] = time.monotonic
    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def to(self, done: int) -> None:
        """So many are done now."""
        now = self.clock()
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[1][0] < now - WINDOW:
            self._seen.popleft()

    def skip(self, count: int) -> None:
        """So many were done before, or will not be: no work of now."""
        self._seen = deque((when, done + count) for when, done in self._seen)

    @property
    def rate(self) -> float | None:
        if len(self._seen) < 2 or self._seen[-1][0] <= self._seen[0][0]:
            return None
        (then, before), (now, after) = self._seen[0], self._seen[-1]
        return (after - before) / (now - then)

    def text(self, total: int | None, unit: str) -> str:
        """'1,200 of 5,000 images, 340 a second, 11 s left', as far as it is known."""
        done = self._seen[-1][1] if self._seen else 0
        told = f"{done:,} of {total:,} {unit}" if total else f"{done:,} {unit}" if done else ""
        parts = [told] if told else []
        if self.rate:
            parts.append(f"{self.rate:,.{0 if self.rate >= 10 else 1}f} a second")
            if total and total > done:
                parts.append(f"{duration((total - done) / self.rate)} left")
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """'42 s', '7 min', '3 h 20 min'."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


class Task:
    """One piece of work that is shown."""

    def __init__(
        self, display: "Display", what: str, total: int | None, unit: str, every: float
    ) -> None:
        self._display = display
        self._what, self._total, self._unit, self._every = what, total, unit, every
        self._done = 0
        self._note = ""
        self._pace = Pace(display.clock)
        self._pace.to(0)
        self._told = display.clock()
        self._bar: TaskID | None = display.bar(what, total)

    def to(self, done: int, note: str | None = None, worked: bool = True) -> None:
        """So many are done; not by work of now, unless `worked`."""
        with self._display.lock:
            if not worked:
                self._pace.skip(done - self._done)
            self._done = done
            self._note = self._note if note is None else note
            self._pace.to(done)
            text = ", ".join(t for t in (self._pace.text(self._total, self._unit), self._note) if t)
            if self._bar is not None:
                self._display.update(self._bar, done, text)
            elif self._display.mode == "lines":
                now = self._display.clock()
                if now - self._told >= self._every:
                    self._told = now
                    self._display.line(f"  {self._what}: {text}")

    def add(self, count: int) -> None:
        self.to(self._done + count)

    def end(self) -> None:
        """Show it no more; what is heard of it later is not shown either."""
        self._display.remove(self._bar)


class Display:
    """Shows the work that is under way, on one console."""

    def __init__(
        self,
        console: Console,
        mode: Mode | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            mode: default: bars in a terminal, else lines.
        """
        self.mode: Mode = mode or ("bars" if console.is_terminal else "lines")
        self.clock = clock
        self.lock = threading.RLock()
        self._console = console
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:12}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}", markup=False),
            console=console,
            transient=True,
        )

    def begin(
        self, what: str, total: int | None = None, unit: str = "images", every: float = EVERY
    ) -> Task:
        """Show one more piece of work.

        Args:
            every: seconds between its lines, where there are no bars.
        """
        return Task(self, what, total, unit, every)

    @contextmanager
    def track(self, what: str, total: int | None = None, unit: str = "images") -> Iterator[Advance]:
        """What stages are given as `Project.track`."""
        task = self.begin(what, total, unit)
        try:
            yield task.add
        finally:
            task.end()

    def say(self, message: str) -> None:
        """A line of rich's markup, unless nobody wants to hear."""
        if self.mode != "quiet":
            self._console.print(message, soft_wrap=True)

    def line(self, text: str) -> None:
        self.say(escape(text))

    def bar(self, what: str, total: int | None) -> TaskID | None:
        if self.mode != "bars":
            return None
        with self.lock:
            self.bars.start()
            return self.bars.add_task(what, total=total, text="")

    def update(self, bar: TaskID, done: int, text: str) -> None:
        if bar in self.bars.task_ids:
            self.bars.update(bar, completed=done, text=text)

    def remove(self, bar: TaskID | None) -> None:
        if bar is None:
            return
        with self.lock:
            if bar in self.bars.task_ids:
                self.bars.remove_task(bar)
            if not self.bars.task_ids:
                self.bars.stop()
