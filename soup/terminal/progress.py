"""Progress of the work under way, with pace and time left.

In a terminal there are bars. Elsewhere, as in the logs of CI or of a worker, each piece of work has
one line a minute.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Column
from rich.text import Text

Advance = Callable[[int], None]
WINDOW = 30.0  # seconds that a pace is measured over
WIDE = 110  # columns of a terminal that has room for long bars
NAMES = 20  # characters of a name
EVERY = 60.0  # seconds between two lines about one task
BYTES = "bytes"  # a unit that is told in MB and GB
Mode = Literal["bars", "lines", "quiet"]


@dataclass
class Pace:
    """Units a second over the last half minute.

    Rich's own speed is unknown where steps are further apart than its window; this one then takes
    the last two steps.
    """

    clock: Callable[[], float] = time.monotonic
    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def to(self, done: int) -> None:
        """Record that so many units are done now."""
        now = self.clock()
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[1][0] < now - WINDOW:
            self._seen.popleft()

    def skip(self, count: int) -> None:
        """Count units as done that no work is done for: finished before, or never to be."""
        self._seen = deque((when, done + count) for when, done in self._seen)

    @property
    def rate(self) -> float | None:
        """Units a second; None while it is not known."""
        if len(self._seen) < 2 or self._seen[-1][0] <= self._seen[0][0]:
            return None
        (then, before), (now, after) = self._seen[0], self._seen[-1]
        return (after - before) / (now - then)

    def text(self, total: int | None, unit: str, note: str = "", room: float = math.inf) -> str:
        """'1,200 of 5,000 images, 340 a second, 11 s left', as far as it is known.

        Args:
            total: units in all, if that is known.
            unit: what is counted.
            note: put at the end.
            room: characters; where there are too few, the pace is left out, then the note, then
                the count.
        """
        done = self._seen[-1][1] if self._seen else 0
        if unit == BYTES:
            count = f"{size(done)} of {size(total)}" if total else size(done) if done else ""
        else:
            count = f"{done:,} of {total:,} {unit}" if total else f"{done:,} {unit}" if done else ""
        pace = left = ""
        if rate := self.rate:
            pace = f"{size(rate)} a second" if unit == BYTES else speed(rate)
            left = f"{duration((total - done) / rate)} left" if total and total > done else ""
        every = [count, pace, left, note]
        for parts in (every, [count, left, note], [count, left], [left or count]):
            text = ", ".join(filter(None, parts))
            if len(text) <= room:
                break
        return text


def speed(rate: float, unit: str = "") -> str:
    """A number of units a second for people, which never rounds to 0: '340 a second', '45 s each'.

    Args:
        rate: more than 0.
        unit: named with the number; '' leaves it out.
    """
    if rate < 1:
        return f"{duration(1 / rate)} each"
    return f"{rate:,.{0 if rate >= 10 else 1}f} {unit} a second".replace("  ", " ")


def size(count: float) -> str:
    """A number of bytes for people: '12 MB', '3.4 GB'."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count / 1e6, 0.1):.3g} MB"


def duration(seconds: float) -> str:
    """A number of seconds for people: '42 s', '7 min', '3 h 20 min'; never '0 s'."""
    if seconds < 99.5:
        return f"{max(seconds, 1):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


class Task:
    """A piece of work whose progress is shown; made by `Display.begin`."""

    def __init__(
        self, display: "Display", what: str, total: int | None, unit: str, part: bool
    ) -> None:
        self._display = display
        self._what, self._total, self._unit, self._part = what, total, unit, part
        self._done = 0
        self._note = ""
        self._pace = Pace(display.clock)
        self._pace.to(0)
        self._last_line = display.clock()
        with display.lock:
            if display.mode == "bars":
                display.bars.start()
            self._bar = display.bars.add_task(what, total=total, text="")

    def to(self, done: int, note: str | None = None, worked: bool = True) -> None:
        """Show that so many units are done.

        Args:
            done: units, in all.
            note: shown beside the numbers; None: the note of before.
            worked: whether work was done for them now, which counts for the pace.
        """
        with self._display.lock:
            if not worked:
                self._pace.skip(done - self._done)
            self._done = done
            self._note = self._note if note is None else note
            self._pace.to(done)
            if self._bar in self._display.bars.task_ids:  # not ended
                self._display.bars.update(self._bar, completed=done, text=self._text())
            if self._display.mode == "lines" and not self._part:
                now = self._display.clock()
                if now - self._last_line >= EVERY:
                    self._last_line = now
                    self._display.say(f"  {self._what}: {self._text()}")

    def _text(self) -> str:
        room = self._display.room if self._display.mode == "bars" else math.inf
        return self._pace.text(self._total, self._unit, self._note, room)

    def add(self, count: int) -> None:
        """Show that so many more units are done."""
        self.to(self._done + count)

    def end(self) -> None:
        """Show the work no more, whatever comes of it later."""
        with self._display.lock:
            bars = self._display.bars
            if self._bar in bars.task_ids:
                bars.remove_task(self._bar)
            if not bars.task_ids and bars.live.is_started:
                bars.stop()


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
            console: prints.
            mode: bars, lines or nothing; default: bars in a terminal, else lines.
            clock: in seconds.
        """
        self.mode: Mode = mode or ("bars" if console.is_terminal else "lines")
        self.clock = clock
        self.lock = threading.RLock()
        self._console = console
        bar = 24 if console.width >= WIDE else 10
        self.room = console.width - bar - NAMES - 4  # characters beside the name and the bar
        name = Column(min_width=12, max_width=NAMES, no_wrap=True)
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False, table_column=name),
            BarColumn(bar_width=bar, table_column=Column(min_width=bar)),
            TextColumn("{task.fields[text]}", markup=False, table_column=Column(no_wrap=True)),
            console=console,
            transient=True,
        )

    def begin(
        self, what: str, total: int | None = None, unit: str = "images", part: bool = False
    ) -> Task:
        """Begin to show a piece of work.

        Args:
            what: its name.
            total: how many units it has, if that is known.
            unit: what is counted.
            part: whether it is part of other work that is shown, which alone has lines.
        """
        return Task(self, what, total, unit, part)

    @contextmanager
    def track(self, what: str, total: int | None = None, unit: str = "images") -> Iterator[Advance]:
        """Show a piece of work within; yields what to call with each number of units done.

        Stages get this as `Project.track`, a `soup.data.progress.Track`.
        """
        task = self.begin(what, total, unit)
        try:
            yield task.add
        finally:
            task.end()

    def say(self, *parts: str | Text, style: str | None = None) -> None:
        """Print a line of parts that a space joins, unless the mode is quiet."""
        if self.mode != "quiet":
            self._console.print(*parts, style=style, soft_wrap=not self._console.is_terminal)
