"""What the verbs print: tables and progress for people on stderr, JSON for programs on stdout."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from soup.errors import without_password

# Names may hold what Rich reads as markup or an emoji: text is shown as it is; styles are `Text`.
console = Console(stderr=True, highlight=False, markup=False, emoji=False)


def say(*parts: str | Text) -> None:
    """A line for people, of parts that a space joins."""
    shown = (without_password(part) if isinstance(part, str) else part for part in parts)
    console.print(*shown, soft_wrap=True)


def bold(name: object) -> Text:
    """A name for a line of `say`."""
    return Text(without_password(str(name)), "bold")


def warn(line: str) -> None:
    """A line for people about what may be wrong with the result."""
    say(Text("warning:", "yellow"), line)


def tell_left_out(problems: Sequence[str]) -> None:
    """Warn of the images that were left out: the first by name, and how many there are."""
    for problem in problems[:5]:
        warn(f"left out: {problem}")
    if len(problems) > 5:
        warn(f"left out: {len(problems) - 5} more")


def fail(message: str) -> None:
    """An error for people."""
    say(Text("error:", "red"), message)


def print_json(value: object) -> None:
    """The result of a verb, on stdout, its addresses without passwords.

    Raises:
        ValueError: it holds NaN or an infinity, which JSON does not know.
    """
    text = json.dumps(value, indent=2, allow_nan=False, default=str)
    sys.stdout.write(without_password(text) + "\n")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table for people.

    Args:
        columns: their names; a name that begins with '>' is of numbers, which are set to the right.
        rows: of cells; None is an empty one.
    """
    say(bold(title))
    grid = Table(box=None, pad_edge=False)
    shown = [["" if cell is None else without_password(str(cell)) for cell in row] for row in rows]
    for index, column in enumerate(columns):
        # On a narrow terminal names are folded, and figures stay whole.
        if column.startswith(">"):
            widest = max((len(row[index]) for row in shown), default=0)
            grid.add_column(column[1:], justify="right", min_width=widest)
        else:
            grid.add_column(column, overflow="fold")
    for row in shown:
        grid.add_row(*row)
    console.print(grid)


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[], None]]:
    """A bar with the time that is left, drawn on a terminal only.

    Args:
        what: is done.
        total: number of steps, or None if it is not known.

    Yields:
        A function to call after each step.
    """
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bars:
        task = bars.add_task(what, total=total)
        yield lambda: bars.advance(task)


def models_in(names: Iterable[str]) -> str:
    """How many models the names are of: "1 model", "3 models"."""
    count = len(set(names))
    return "1 model" if count == 1 else f"{count} models"


def percent(share: float) -> str:
    """A share from 0 to 1 in percent, with two decimals and no sign."""
    return f"{100 * share:.2f}"
