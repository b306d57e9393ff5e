"""The address of a text in a manifest, and the texts at given addresses.

An address is FILE::COLUMNS::ROW, such as `RTE/train.tsv::sentence1+sentence2::0000012`: the file
relative to the data root; the column of the text, or both columns of a pair, joined by '+'; and the
number of the row, counted from 1 without the header. In a file without a header, the columns are
numbers from 0. A process that gets a manifest needs no parameters to find the texts.
"""

import hashlib
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from soup.data.errors import DataError
from soup.data.split.manifest import Row
from soup.data.text.tables import Table, read_table
from soup.errors import some

MARK = "::"


class Text(NamedTuple):
    """A text, or a pair of texts; `pair` is None for a single one."""

    text: str
    pair: str | None = None

    @property
    def content(self) -> str:
        """Fingerprint of the exact text: the start of a SHA-256."""
        written = self.text if self.pair is None else f"{self.text}\0{self.pair}"
        return hashlib.sha256(written.encode()).hexdigest()[:32]

    @property
    def sentences(self) -> tuple[str, ...]:
        """Each text in a normal form, which is equal for equal sentences.

        Case, white space and the Unicode composition of characters are ignored.
        """
        both = (self.text,) if self.pair is None else (self.text, self.pair)
        return tuple(" ".join(unicodedata.normalize("NFKC", t).casefold().split()) for t in both)


def address(file: str, columns: Sequence[str], row: int) -> str:
    """The address of a text, which is its path in a manifest."""
    return MARK.join([file, "+".join(columns), f"{row:07d}"])


def parts(path: str) -> tuple[str, tuple[str, ...], int]:
    """The file, the columns and the row of an address.

    Raises:
        DataError: the path is not the address of a text.
    """
    file, columns, row = [*path.rsplit(MARK, 2), "", ""][:3]
    if not file or not columns or not row.isdecimal():
        raise DataError(f"{path} names no text (FILE::COLUMNS::ROW): run prepare again")
    return file, tuple(columns.split("+")), int(row)


def at(table: Table, columns: Sequence[str], position: int) -> Text:
    """The text in a row of a table, by the row's position."""
    return Text(*(table.columns[name][position] for name in columns))


def open_texts(root: Path, rows: Sequence[Row]) -> list[Text]:
    """Read the texts of a manifest's rows.

    Args:
        root: the data root.

    Raises:
        DataError: a file is missing, or a text has changed since the split was made.
    """
    texts: list[Text] = []
    changed: list[str] = []
    positions: dict[tuple[str, tuple[str, ...]], tuple[Table, dict[int, int]]] = {}
    for row in rows:
        file, columns, number = parts(row.path)
        if (file, columns) not in positions:
            table = read_table(root / file, header=not all(name.isdecimal() for name in columns))
            lost = [name for name in columns if name not in table.columns]
            if lost:
                raise DataError(f"{root / file} has no column {some(lost, 3)}: run prepare again")
            positions[file, columns] = table, {n: i for i, n in enumerate(table.numbers)}
        table, position_of = positions[file, columns]
        position = position_of.get(number)
        text = at(table, columns, position) if position is not None else Text("")
        if position is None or text.content != row.content:
            changed.append(row.path)
        texts.append(text)
    if changed:
        raise DataError(
            f"{len(changed)} texts are not what they were when the split was made: "
            f"{some(changed, 5)}; run prepare again"
        )
    return texts
