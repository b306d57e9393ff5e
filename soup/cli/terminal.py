"""What commands say: tables and progress for people on stderr, JSON for machines on stdout."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

console = Console(stderr=True, highlight=False)


def say(line: str) -> None:
    console.print(line, soft_wrap=True)


def warn(line: str) -> None:
    console.print("[yellow]warning:[/]", line, soft_wrap=True)


def print_json(value: object) -> None:
    """To stdout, so that it can be piped."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False, default=str) + "\n")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Columns whose name begins with '>' are numbers, set to the right."""
    console.print(f"[bold]{title}[/]")
    shown = Table(box=None, pad_edge=False)
    for column in columns:
        right = column.startswith(">")
        shown.add_column(column.removeprefix(">"), justify="right" if right else "left")
    for row in rows:
        shown.add_row(*("" if cell is None else str(cell) for cell in row))
    console.print(shown)


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[], None]]:
    """A bar with the time that is left; yields what to call once a step. Nothing off a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bars:
        task = bars.add_task(what, total=total)
        yield lambda: bars.advance(task)


def percent(share: float) -> str:
    return f"{100 * share:.2f}"
