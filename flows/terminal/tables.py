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
        width: of the terminal, in characters. Only what is wider alone is folded.
    """
    names = max((len(row.name) for row in rows), default=0)
    widths = [
        max(map(len, [*column.split(), *(row.cells[index] for row in rows)]))
        for index, column in enumerate(columns)
    ]
    whole = [max(len(column), wide) for column, wide in zip(columns, widths, strict=True)]
    if names + sum(whole) + 2 * len(whole) <= width:  # no heading need be broken
        widths = whole
    gap = 2 if names + sum(widths) + 2 * len(widths) <= width else 1
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
