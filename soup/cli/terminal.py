"""What the verbs print: tables and progress for people on stderr, JSON for programs on stdout."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from rich.console import Console
from rich.text import Text

from soup.data.progress import Advance
from soup.errors import without_password
from soup.terminal.progress import Display
from soup.terminal.tables import Column, in_words

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
    """A table for people, in the width of the terminal.

    Args:
        columns: their names; a name that begins with '>' is of numbers, which are set to the right.
        rows: of cells; None is an empty one.
    """
    say(bold(title))
    shown = [["" if cell is None else without_password(str(cell)) for cell in row] for row in rows]
    named = [
        Column(name.removeprefix(">"), name.startswith(">"), [row[index] for row in shown])
        for index, name in enumerate(columns)
    ]
    for grid in in_words(named, console.width):
        console.print(grid)


@cache
def display() -> Display:
    """What shows the progress of a verb: bars in a terminal, else a line a minute."""
    return Display(console)


@contextmanager
def progress(what: str, total: int | None = None, unit: str = "images") -> Iterator[Advance]:
    """Show how far a piece of work is; a `soup.data.progress.Track`."""
    with display().track(without_password(what), total, unit) as advance:
        yield advance


def amount(count: int, noun: str) -> str:
    """A number of things: "1 model", "3 models"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def models_in(names: Iterable[str]) -> str:
    """How many models the names are of."""
    return amount(len(set(names)), "model")


def percent(share: float) -> str:
    """A share from 0 to 1 in percent, with two decimals and no sign."""
    return f"{100 * share:.2f}"
