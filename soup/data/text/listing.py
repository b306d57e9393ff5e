"""List the labelled texts of a source, and the rows that cannot be used."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from soup.config.data import Source
from soup.config.text import NUMBER_TASKS, TextData
from soup.config.text import TASKS as TASK_NAMES
from soup.data.errors import DataError
from soup.data.sources.folders import Problem, relative
from soup.data.text import glue
from soup.data.text.columns import chosen, of_task, require
from soup.data.text.examples import is_number
from soup.data.text.tables import SUFFIXES, read_table
from soup.data.text.texts import Text, address, at
from soup.errors import some


class Labelled(NamedTuple):
    """A text with its address in a manifest and its label."""

    path: str
    text: Text
    label: str


@dataclass(frozen=True)
class Listed:
    """The texts of one source.

    Attributes:
        found: in the order of the file.
        problems: the rows that cannot be used, with the reasons.
        files: the files that were read.
        notes: lines for the user.
    """

    found: list[Labelled]
    problems: list[Problem] = field(default_factory=list)
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def listed(source: Source, text: TextData, root: Path, part: str) -> Listed:
    """The labelled texts of a source.

    Args:
        source: its path is that of the table, or TASK:FILE for a file of another GLUE task.
        text: the task or the columns.
        root: the data root, to which paths are relative.
        part: 'train', 'heldout', 'test' or a shift's name.

    Raises:
        DataError: the table cannot be read or lacks a column; or, for regression, a label is not
            a number.
    """
    named, _, after = source.path.partition(":")
    task = glue.TASKS[text.task] if text.task else None
    written = source.path
    if after and named in TASK_NAMES:
        task, written = glue.TASKS[named], after  # type: ignore[index] # it is one of them
    file = _file(root, written, source.split)
    table = read_table(file, header=not (task and task.columns))
    notes: tuple[str, ...] = ()
    if task is not None:
        columns = of_task(task)
        name = next(name for name, value in glue.TASKS.items() if value is task)
        if task.columns and len(table.columns) != task.columns:
            raise DataError(
                f"{file} has {len(table.columns)} columns, {name} has {task.columns}, the label "
                "second and the sentence last; GLUE's own test files have no labels"
            )
        require(columns, table.columns, file, f"{name} (GLUE)")
        if name == "mrpc" and part == "train":
            table, taken = glue.without_official_dev(table, file)
            if taken:
                told = f"{taken} pairs of the official development set were taken out of {file}"
                notes = (told,)
    else:
        columns = chosen(text.columns, table.columns, file)
    inside = relative(file, root)
    found, problems = (
        [],
        [Problem(f"{inside}, row {number}", reason) for number, reason in table.malformed.items()],
    )
    for position, number in enumerate(table.numbers):
        example = at(table, columns.text, position)
        label = table.columns[columns.label][position].strip()
        reason = _unusable(example, label, columns.label)
        if reason:
            problems.append(Problem(f"{inside}, row {number}", reason))
            continue
        label = task.names.get(label, label) if task else label
        found.append(Labelled(address(inside, columns.text, number), example, label))
    if not found:
        told = some([f"{p.path}: {p.reason}" for p in problems], 3)
        raise DataError(f"{file} has no text that can be used{': ' if told else ''}{told}")
    if name in NUMBER_TASKS if task else text.numbers:
        _require_numbers(found, file)
    elif task and task.names:
        strange = sorted({item.label for item in found} - {*task.names.values()})
        if strange:
            raise DataError(
                f"{file}: {len(strange)} labels that {name} (GLUE) does not have: "
                f"{some(strange, 3)}; its labels are {some([*task.names], 3)}"
            )
    return Listed(found, problems, (file,), notes)


def _unusable(text: Text, label: str, column: str) -> str:
    if not all(sentence.strip() for sentence in text if sentence is not None):
        return "the text is empty" if text.pair is None else "a text of the pair is empty"
    if not label:
        return f"no label in column {column!r}"
    return ""


def _require_numbers(found: list[Labelled], file: Path) -> None:
    wrong = [f"{item.path} ({item.label})" for item in found if not is_number(item.label)]
    if wrong:
        raise DataError(f"{file}: labels that are no numbers: {some(wrong, 5)}")


def _file(root: Path, written: str, split: str | None) -> Path:
    """The table at a path: a file, a folder of Hugging Face's, or a file given without its
    suffix."""
    path = root / written
    if split is not None and (path / split).is_dir():
        path = path / split
    if path.is_file() or (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        return path
    beside = [path.with_name(path.name + suffix) for suffix in SUFFIXES]
    there = [file for file in beside if file.is_file()]
    if len(there) == 1:
        return there[0]
    if there:
        raise DataError(f"{path}: which of {', '.join(file.name for file in there)}? Name one")
    if path.is_dir():
        held = sorted(p.name for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        raise DataError(f"{path} is a folder; name the file in it: {some(held, 8) or 'none fits'}")
    raise DataError(f"there is no {path}, nor with {', '.join(SUFFIXES)} after it")
