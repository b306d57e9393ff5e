"""Tables of figures that fit the width of a terminal, however many columns they have."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.table import Table


class Row(NamedTuple):
    """A row of a table: its name, a cell for each column, and Rich's style of it."""

    name: str
    cells: Sequence[str]
    style: str = ""


def fitting(title: str, columns: Sequence[str], rows: Sequence[Row], width: int) -> Iterator[Table]:
    """Tables one below the other, each with the names and as many columns as fit.

    Args:
        title: of the first.
        columns: their names.
        width: of the terminal, in characters. A heading is broken only where the columns do not
            fit beside each other otherwise, once if that does; only what is wider alone is folded.
    """
    names = max((len(row.name) for row in rows), default=0)
    cells = [
        max((len(row.cells[index]) for row in rows), default=0) for index in range(len(columns))
    ]
    ways = [
        ([max(lines(column), wide) for column, wide in zip(columns, cells, strict=True)], gap)
        for lines, gap in ((len, 2), (_in_two_lines, 2), (_in_two_lines, 1), (_longest_word, 1))
    ]
    fit = [way for way in ways if names + sum(way[0]) + way[1] * len(columns) <= width]
    widths, gap = fit[0] if fit else ways[2]
    parts: list[list[int]] = []
    for index, wide in enumerate(widths):
        used = names + sum(gap + widths[other] for other in parts[-1]) if parts else width
        if used + gap + wide > width:
            parts.append([])
        parts[-1].append(index)
    for part in parts:
        heading = None if part[0] else title
        table = Table(
            title=heading, title_justify="left", box=None, pad_edge=False, padding=(0, gap, 0, 0)
        )
        table.add_column("", width=min(names, width // 2), overflow="fold")
        for index in part:
            table.add_column(columns[index], justify="right", width=widths[index], overflow="fold")
        for row in rows:
            table.add_row(row.name, *(row.cells[index] for index in part), style=row.style)
        yield table


def _longest_word(heading: str) -> int:
    return max(map(len, heading.split()), default=0)


def _in_two_lines(heading: str) -> int:
    """The least width of a heading that is broken once, between two words."""
    words = heading.split()
    breaks = (
        max(len(" ".join(words[:at])), len(" ".join(words[at:]))) for at in range(1, len(words))
    )
    return min(breaks, default=len(heading))
