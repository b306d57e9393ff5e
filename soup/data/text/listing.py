"""List the labelled texts of a source, and the rows that cannot be used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import NamedTuple

from soup.config.data import Hub, Source, in_hub
from soup.config.text import NUMBER_TASKS, TaskName, TextData
from soup.config.text import TASKS as TASK_NAMES
from soup.data.errors import DataError
from soup.data.hub.record import require
from soup.data.sources.folders import Problem, relative
from soup.data.text import glue
from soup.data.text.columns import chosen, of_task
from soup.data.text.columns import require as require_columns
from soup.data.text.examples import is_number
from soup.data.text.tables import SUFFIXES, read_table
from soup.data.text.texts import Text, address, at
from soup.errors import some

HIDDEN = "-1"  # the label of a row whose class is not published, in data sets of the hub


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


def listed(source: Source, text: TextData, root: Path, part: str, hub: Hub | None = None) -> Listed:
    """The labelled texts of a source.

    Args:
        source: its path is that of the table, a pattern of the files of one table
            (train-*.parquet), TASK:FILE for a file of another GLUE task, or hub:SPLIT.
        text: the task or the columns.
        root: the data root, to which paths are relative.
        part: 'train', 'heldout', 'test' or a shift's name.
        hub: the data set of the Hugging Face hub, which is downloaded already.

    Raises:
        DataError: the table cannot be read or lacks a column; or, for regression, a label is not
            a number.
    """
    named, _, after = source.path.partition(":")
    name: TaskName | None = text.task
    written = source.path
    names: dict[str, list[str]] = {}
    if hub is not None and in_hub(written):
        record, files = require(root, hub, after)
        names, written = record.names, f"{hub.dataset}, split {after}"
    else:
        if after and named in TASK_NAMES:
            name, written = named, after  # type: ignore[assignment] # it is one of them
        files = tuple(_files(root, written, source.split))
    parts = [_of_file(file, name, text, root, part, names) for file in files]
    found = [item for one in parts for item in one.found]
    problems = [problem for one in parts for problem in one.problems]
    if not found:
        told = some([f"{p.path}: {p.reason}" for p in problems], 3)
        whole = files[0] if len(files) == 1 and not names else written
        raise DataError(f"{whole} has no text that can be used{': ' if told else ''}{told}")
    return Listed(found, problems, files, tuple(note for one in parts for note in one.notes))


def _of_file(
    file: Path,
    name: TaskName | None,
    text: TextData,
    root: Path,
    part: str,
    names: Mapping[str, Sequence[str]],
) -> Listed:
    """The labelled texts of one file, which may be none; arguments as in `listed`.

    Args:
        name: of the GLUE task whose file it is.
        names: column -> names of its classes, where the file does not have them.
    """
    task = glue.TASKS[name] if name else None
    table = read_table(file, header=not (task and task.columns))
    notes: tuple[str, ...] = ()
    if task is not None:
        columns = of_task(task)
        if task.columns and len(table.columns) != task.columns:
            raise DataError(
                f"{file} has {len(table.columns)} columns, {name} has {task.columns}, the label "
                "second and the sentence last; GLUE's own test files have no labels"
            )
        require_columns(columns, table.columns, file, f"{name} (GLUE)")
        if name == "mrpc" and part == "train":
            table, taken = glue.without_official_dev(table, file)
            if taken:
                told = f"{taken} pairs of the official development set were taken out of {file}"
                notes = (told,)
    else:
        columns = chosen(text.columns, table.columns, file)
        if columns.label in names and columns.label not in table.classes:
            table = table.naming(columns.label, names[columns.label])
    inside = relative(file, root)
    found, problems = (
        [],
        [Problem(f"{inside}, row {number}", reason) for number, reason in table.malformed.items()],
    )
    hidden = 0
    for position, number in enumerate(table.numbers):
        example = at(table, columns.text, position)
        label = table.columns[columns.label][position].strip()
        reason = _unusable(example, label, columns.label)
        if label == HIDDEN and columns.label in table.classes:
            reason, hidden = f"its label is hidden ({HIDDEN})", hidden + 1
        if reason:
            problems.append(Problem(f"{inside}, row {number}", reason))
            continue
        label = task.names.get(label, label) if task else label
        found.append(Labelled(address(inside, columns.text, number), example, label))
    _require_some_shown(file, hidden, len(found))
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


def _require_some_shown(file: Path, hidden: int, shown: int) -> None:
    if hidden and not shown:
        raise DataError(
            f"{file}: its labels are hidden ({HIDDEN} in all {hidden} rows), as those of the test "
            "sets of some benchmarks are; name another split, such as data: "
            "{test: hub:validation}, or another file"
        )


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


def _files(root: Path, written: str, split: str | None) -> list[Path]:
    """The files of the table at a path: a file, a folder of Hugging Face's, a file given without
    its suffix, or the files that a pattern fits, by name."""
    path = root / written
    if any(sign in written for sign in "*?[") and not path.exists():
        fitting = sorted(map(Path, glob(str(path), recursive=True)))  # noqa: PTH207  any depth
        fitting = [file for file in fitting if file.suffix.lower() in SUFFIXES]
        if not fitting:
            raise DataError(f"no file fits {path}: {', '.join(SUFFIXES)}")
        return fitting
    if split is not None and (path / split).is_dir():
        path = path / split
    if path.is_file() or (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        return [path]
    beside = [path.with_name(path.name + suffix) for suffix in SUFFIXES]
    there = [file for file in beside if file.is_file()]
    if len(there) == 1:
        return there
    if there:
        raise DataError(f"{path}: which of {', '.join(file.name for file in there)}? Name one")
    if path.is_dir():
        held = sorted(p.name for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        raise DataError(f"{path} is a folder; name the file in it: {some(held, 8) or 'none fits'}")
    raise DataError(f"there is no {path}, nor with {', '.join(SUFFIXES)} after it")
