"""Tables that fit the width of a terminal, however many columns they have, without broken words."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.table import Table

GAPS = (2, 1)  # spaces between two columns, the second where the first is too wide


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        heading: its name.
        numbers: whether it is set to the right, and its cells stay on one line.
        cells: from above to below.
    """

    heading: str
    numbers: bool
    cells: Sequence[str]

    @property
    def natural(self) -> int:
        """The width without any line break."""
        return max(self.least, *map(cell_len, (self.heading, *self.cells)))

    @property
    def least(self) -> int:
        """The least width in which no word is broken."""
        whole = self.cells if self.numbers else ()
        return max(1, _longest_word([self.heading, *self.cells]), *map(cell_len, whole))


def in_words(columns: Sequence[Column], width: int) -> Iterator[Table]:
    """Tables one below the other that fit a width, with lines broken between words only.

    There is one table if it fits, else several, each with the first column and as many others as
    fit. Where that is no more than one, there is a line for each cell, behind its heading.

    Args:
        columns: at least one.
        width: of the terminal, in characters. Only a word that is wider alone is broken.
    """
    first, *others = columns
    for gap in GAPS:
        if _least(columns, gap) <= width:
            yield _grid(columns, width, gap)
            return
    gap = GAPS[0]
    parts = [[first]]
    for column in others:
        part = [*parts[-1], column]
        if _least(part, gap) > width:
            parts.append([first])
        parts[-1].append(column)
    fit = all(_least([first, column], gap) <= width for column in others)
    if not fit or len(parts) >= len(others) > 1:
        yield _by_cell(columns, width)
        return
    for part in parts:
        yield _grid(part, width, gap)


def _least(columns: Sequence[Column], gap: int) -> int:
    """The least width of the columns side by side; Rich reserves a gap behind the last, too."""
    return sum(gap + column.least for column in columns)


def _grid(columns: Sequence[Column], width: int, gap: int) -> Table:
    """The columns beside each other, which fit; those that want more room share what is left."""
    left = width - _least(columns, gap)
    wanted = [column.natural - column.least for column in columns]
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
    for column, want in zip(columns, wanted, strict=True):
        more = min(want, left * want // max(1, sum(wanted)))
        table.add_column(
            column.heading,
            justify="right" if column.numbers else "left",
            width=column.least + more,
            overflow="fold",
        )
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*row)
    return table


def _by_cell(columns: Sequence[Column], width: int) -> Table:
    """A line for each cell that is not empty, and an empty line between two rows."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, GAPS[0], 0, 0))
    headings = [column.heading for column in columns]
    room = (
        width - 2 * GAPS[0] - _longest_word([cell for column in columns for cell in column.cells])
    )
    wide = max(_longest_word(headings), min(room, max(map(cell_len, headings))))
    table.add_column(width=min(wide, width // 2) or 1, overflow="fold")
    table.add_column(overflow="fold")
    for index, row in enumerate(zip(*(column.cells for column in columns), strict=True)):
        if index:
            table.add_row()
        for column, cell in zip(columns, row, strict=True):
            if cell:
                table.add_row(column.heading, cell)
    return table


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
        for lines, gap in ((len, 2), (_in_two_lines, 2), (_in_two_lines, 1), (_of_longest_word, 1))
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


def _longest_word(texts: Sequence[str]) -> int:
    return max((cell_len(word) for text in texts for word in text.split()), default=0)


def _of_longest_word(heading: str) -> int:
    return _longest_word([heading])


def _in_two_lines(heading: str) -> int:
    """The least width of a heading that is broken once, between two words."""
    words = heading.split()
    breaks = (
        max(len(" ".join(words[:at])), len(" ".join(words[at:]))) for at in range(1, len(words))
    )
    return min(breaks, default=len(heading))
