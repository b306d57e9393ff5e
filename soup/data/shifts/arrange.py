"""The labels of the evaluation images: those of each shift as train's classes, and ReaL labels."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from soup.config.data import Data, Shift
from soup.data.errors import DataError
from soup.data.shifts import objectnet, real
from soup.data.shifts.layouts import LAYOUTS, Layout, Meaning, ShiftFolder, recognise
from soup.data.shifts.protocol import REAL, SEPARATOR, EvaluationProtocol, join_labels
from soup.data.sources.folders import Found
from soup.errors import some


@dataclass(frozen=True)
class Arranged:
    """How the test images and the shifts are labelled and judged.

    Attributes:
        images: shift -> its images, with the labels that the manifest will have.
        reassessed: path of a test image -> its ReaL labels, joined by `join_labels`.
        protocols: shift or 'real' -> how it is judged.
        notes: lines for the user: how each shift was read.
        problems: lines for the user: why a shift or the ReaL labels cannot be read.
    """

    images: Mapping[str, list[Found]]
    reassessed: Mapping[str, str]
    protocols: Mapping[str, EvaluationProtocol]
    notes: tuple[str, ...]
    problems: tuple[str, ...]


def arrange(
    data: Data, found: Mapping[str, Sequence[Found]], classes: Sequence[str], root: Path
) -> Arranged:
    """Read every shift in its layout, and the ReaL labels if there are any.

    Args:
        found: split -> images, labelled by the folder they are in.
        classes: train's, sorted.
        root: what the folders are relative to.
    """
    images: dict[str, list[Found]] = {}
    reassessed: dict[str, str] = {}
    protocols: dict[str, EvaluationProtocol] = {}
    notes: list[str] = []
    problems: list[str] = []
    for name, shift in data.shifts.items():
        if not found[name]:  # reported when its labels were read
            continue
        try:
            images[name], protocols[name], note = _read(shift, found[name], classes, root)
            notes += [f"shift {name}: {note}"] if note else []
        except DataError as error:
            problems.append(f"shift {name}: {error}")
    if data.real:
        try:
            paths = [image.path for image in found["test"]]
            reassessed = real.labels(root / data.real, paths, classes)
            protocols[REAL] = EvaluationProtocol({name: (name,) for name in classes}, of="test")
            notes.append(f"ReaL: {len(reassessed)} of {len(paths)} test images have labels")
        except DataError as error:
            problems.append(str(error))
    return Arranged(images, reassessed, protocols, tuple(notes), tuple(problems))


def files(data: Data, root: Path) -> list[str]:
    """The files other than images that `arrange` reads, relative to the root.

    Files that are missing are left out.
    """
    shifts = data.shifts.values()
    paths = [root / shift.classes for shift in shifts if shift.classes]
    paths += [path for s in shifts for path in objectnet.mappings(root / s.folder).values()]
    paths += [root / data.real] if data.real else []
    return [os.path.relpath(path, root) for path in paths if path.is_file()]


def _read(
    shift: Shift, found: Sequence[Found], classes: Sequence[str], root: Path
) -> tuple[list[Found], EvaluationProtocol, str]:
    base = root / shift.folder
    map_file = root / shift.classes if shift.classes else None
    given = ShiftFolder(base, frozenset(image.label for image in found), classes, map_file)
    kind = recognise(given) if shift.layout == "auto" else shift.layout
    layout = LAYOUTS[kind]
    folders = [layout.folder(image) for image in found]
    read = replace(given, folders=frozenset(folders))
    meaning = layout.meaning(read)
    _require_complete(meaning, read, kind, layout)
    groups = {folder: tuple(sorted(set(names))) for folder, names in meaning.items() if names}
    images = [
        Found(image.path, join_labels(groups[folder]))
        for image, folder in zip(found, folders, strict=True)
        if folder in groups
    ]
    if layout.among_present:
        return images, EvaluationProtocol(), "" if kind == "name" else f"layout {kind}"
    answers = {join_labels(group): group for _, group in sorted(groups.items())}
    _require_distinct(answers)
    left_out = len(found) - len(images)
    note = f"layout {kind}, {len(answers)} answers"
    if left_out:
        note += f"; {left_out} of {len(found)} images are of other classes, left out"
    return images, EvaluationProtocol(answers, layout.border), note


def _require_complete(meaning: Meaning, shift: ShiftFolder, kind: str, layout: Layout) -> None:
    missing = sorted(meaning.keys() - shift.folders)
    others = sorted(shift.folders - meaning.keys()) if not layout.others else []
    problems = [f"lacks {len(missing)}: {some(missing, 10)}"] if missing else []
    problems += [f"has others: {some(others, 10)}"] if others else []
    if problems:
        raise DataError(
            f"{shift.base} should hold {layout.looks} (layout {kind}), but "
            f"{' and '.join(problems)}; complete it, or say another layout"
        )
    if not any(meaning.values()):
        raise DataError(f"train has none of the classes of {shift.base} (layout {kind})")


def _require_distinct(answers: Mapping[str, tuple[str, ...]]) -> None:
    classes = [name for group in answers.values() for name in group]
    shared = sorted({name for name in classes if classes.count(name) > 1})
    if shared:
        raise DataError(f"classes that stand in several different answers: {some(shared, 10)}")
    separated = sorted({name for name in classes if SEPARATOR in name})
    if separated:
        raise DataError(
            f"classes with {SEPARATOR!r} in their name: {some(separated, 10)}; rename them"
        )
