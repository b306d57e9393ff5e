"""Where the time of a run goes: its stages one after the other, and what they wait for."""

import gc
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from soup.terminal.tables import Row, fitting

COLUMNS = ("start, s", "seconds", "share", "imports, s", "MLflow, s")
BAR = 20  # characters for the whole run


@dataclass(frozen=True)
class Span:
    """A part of a run, in seconds.

    Attributes:
        name: of the part.
        begun: after the start of the run.
        seconds: that it took.
        imports: of these, those that it imported modules.
        mlflow: of these, those that its own thread waited for MLflow.
    """

    name: str
    begun: float
    seconds: float
    imports: float
    mlflow: float


@dataclass
class TimeSpent:
    """The parts of one run after the other.

    Attributes:
        zero: when the run began, on the monotonic clock.
        of_process: whether it began with its process.
    """

    zero: float = field(default_factory=time.monotonic)
    of_process: bool = False
    spans: list[Span] = field(default_factory=list)
    _imports: float = 0.0

    def restart(self, of_process: bool = False) -> None:
        """Begin anew, now or at the start of the process.

        Args:
            of_process: whether the run is all that the process does; what it took until now to
                start Python and to import modules is then its first part.
        """
        self.spans.clear()
        now, age = time.monotonic(), _age() if of_process else 0.0
        self.zero, self.of_process, self._imports = now - age, of_process, 0.0
        if of_process:
            self.spans.append(Span("start Python", 0.0, age, age, 0.0))

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time within as a part of the run."""
        begun, imports, mlflow = time.monotonic(), self._imports, _mlflow()
        try:
            yield
        finally:
            seconds = time.monotonic() - begun
            imported, waited = self._imports - imports, _mlflow() - mlflow
            self.spans.append(Span(name, begun - self.zero, seconds, imported, waited))

    @contextmanager
    def importing(self) -> Iterator[None]:
        """Count the time within as that of imports, and do not look for garbage meanwhile."""
        begun, looks = time.monotonic(), gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            self._imports += time.monotonic() - begun
            if looks:
                gc.enable()

    def show(self, console: Console) -> None:
        """Print the parts; those that took less than a hundredth of the run are left out."""
        total = time.monotonic() - self.zero
        rows = [
            Row(
                span.name,
                [
                    f"{span.begun:.1f}",
                    f"{span.seconds:.1f}",
                    f"{span.seconds / total:.0%}",
                    f"{span.imports:.1f}" if span.imports >= 0.05 else "",
                    f"{span.mlflow:.1f}" if span.mlflow >= 0.05 else "",
                    _bar(span, total),
                ],
            )
            for span in self.spans
            if span.seconds >= total / 100
        ]
        if rows:
            console.print()
            columns = [*COLUMNS, "from start to end"]
            for table in fitting("where the time went", columns, rows, console.width):
                console.print(table)


time_spent = TimeSpent()  # of the run of this process


def _bar(span: Span, total: float) -> str:
    before = round(BAR * span.begun / total)
    wide = max(1, round(BAR * (span.begun + span.seconds) / total) - before)
    return (" " * before + "=" * wide)[:BAR].ljust(BAR)


def _age() -> float:
    """Seconds since this process began; 0 where the system does not tell."""
    with suppress(OSError, ValueError, IndexError, AttributeError):
        stat = Path("/proc/self/stat").read_text("utf-8")
        ticks = int(stat.rsplit(")", 1)[1].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return 0.0


def _mlflow() -> float:
    # Where the module was not imported, nobody has waited for MLflow.
    stopwatch: Any = sys.modules.get("soup.tracking.stopwatch")
    return float(stopwatch.waited()) if stopwatch else 0.0
