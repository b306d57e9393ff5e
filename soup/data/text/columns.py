"""Find the columns of a table that hold the text, the second text of a pair, and the label."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from soup.config.text import TextRole
from soup.data.errors import DataError
from soup.data.text.glue import Task
from soup.errors import near, some

# Usual names, compared without case, '_' and '-'.
GUESSES: dict[TextRole, tuple[str, ...]] = {
    "text": ("text", "sentence", "sentence1", "premise", "question1", "question", "content"),
    "text_pair": ("textpair", "text2", "sentence2", "hypothesis", "question2"),
    "label": ("label", "labels", "class", "target", "category", "goldlabel", "score"),
}


@dataclass(frozen=True)
class Columns:
    """The columns of a table.

    Attributes:
        text: the column of the text, or the columns of both texts of a pair.
        label: the column of the label.
        header: whether the first line of the file names the columns.
    """

    text: tuple[str, ...]
    label: str
    header: bool = True


def of_task(task: Task) -> Columns:
    """The columns of the files of a GLUE task."""
    return Columns(task.text, task.label, header=not task.columns)


def require(columns: Columns, names: Iterable[str], file: Path, whose: str) -> None:
    """Check that a table has the columns.

    Args:
        whose: name of the table or task, for the error message.

    Raises:
        DataError: columns are missing; the message lists the columns of the table.
    """
    present = [*names]
    lost = [name for name in (*columns.text, columns.label) if name not in present]
    if not lost:
        return
    pair = len(columns.text) == 2 and len({*columns.text} & {*lost}) == 1
    what = "a pair of texts" if pair else whose
    raise DataError(
        f"{file} lacks the column {some([repr(name) for name in lost], 3)} of {what}: it has "
        f"{some(present, 12) or 'none'}"
    )


def of_texts(names: Iterable[str], file: Path) -> tuple[str, ...]:
    """Find the column of the text, or of both texts of a pair, by the usual names.

    Raises:
        DataError: no column has a usual name.
    """
    plain = _plain(names)
    found = [
        next((plain[name] for name in GUESSES[role] if name in plain), "")
        for role in ("text", "text_pair")
    ]
    if not found[0]:
        raise DataError(
            f"{file}: which column holds the text? It has {some([*plain.values()], 12) or 'none'}; "
            "name it 'text', and the second of a pair 'text_pair'"
        )
    return tuple(name for name in found if name)


def _plain(names: Iterable[str]) -> dict[str, str]:
    """Names without case, '_' and '-' -> the original names; the first if several agree."""
    return {n.lower().replace("_", "").replace("-", ""): n for n in reversed([*names])}


def chosen(given: Mapping[TextRole, str], names: Iterable[str], file: Path) -> Columns:
    """The columns of a table: those that the parameters give, the others by their usual names.

    A second text is optional. A column with a usual name is taken as the second text only if the
    parameters do not give the first text either.

    Raises:
        DataError: a given column is missing, or no column of texts or labels can be found.
    """
    present = [*names]
    wrong = [f"'{name}'{near(name, present)}" for name in given.values() if name not in present]
    if wrong:
        raise DataError(f"{file} has no column {some(wrong, 3)}: it has {some(present, 12)}")
    plain = _plain(present)

    def guessed(role: TextRole) -> str:
        return next((plain[name] for name in GUESSES[role] if name in plain), "")

    text = given.get("text") or guessed("text")
    pair = given.get("text_pair", "" if "text" in given else guessed("text_pair"))
    label = given.get("label") or guessed("label")
    unknown = [role for role, name in {"text": text, "label": label}.items() if not name]
    if unknown:
        raise DataError(
            f"{file}: which column holds the {' and which the '.join(unknown)}? It has "
            f"{some(present, 12) or 'none'}; set data.text: "
            f"{{columns: {{{', '.join(f'{role}: NAME' for role in unknown)}}}}}"
        )
    if len({text, pair, label}) < 3:
        raise DataError(f"{file}: text, text_pair and label are different columns: {present}")
    odd = [name for name in (text, pair) if "+" in name or "::" in name]
    if odd:
        raise DataError(f"{file}: a column of texts may not have '+' or '::' in its name: {odd}")
    return Columns((text, pair) if pair else (text,), label)
