"""The split: which image trains, which is held out, which is looked at only in the end.

Two manifests rather than one: what is fitted and selected on (train, held-out) stands in
`development.csv`, what the result is proven on (test, shifts) in `evaluation.csv`. A stage that may
not see test or shifts is not given the second file.
"""

import difflib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from soup.config.data import Data, Source
from soup.data.shifts import arrange as shifts
from soup.data.shifts.protocol import REAL, EvaluationProtocol
from soup.data.sources.folders import DataError, Problem, check
from soup.data.sources.listing import Listed, by_number, listed, states
from soup.data.split.holdout import apart, by_hash, by_index
from soup.data.split.manifest import Manifest, Row
from soup.errors import some
from soup.files import of_value

SHOWN = 20


@dataclass(frozen=True)
class Prepared:
    """The two manifests, each sorted by path, the images left out, and what else is to be said.

    Attributes:
        protocols: how splits are judged that are not in the plain way.
        notes: lines for people.
    """

    development: Manifest
    evaluation: Manifest
    problems: tuple[Problem, ...]
    protocols: Mapping[str, EvaluationProtocol] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def sources(data: Data) -> dict[str, Source]:
    """Split -> where its images are; 'train' is still whole here, unless held-out stands apart."""
    held = {"heldout": data.heldout.folder} if data.heldout.folder else {}
    shifts = {name: Source(path=shift.folder) for name, shift in data.shifts.items()}
    return {"train": data.train, **held, "test": data.test, **shifts}


def listing(data: Data, root: Path) -> str:
    """A digest of which image files there are, with sizes and times: must prepare look again?

    Raises:
        DataError: a folder is missing or empty.
    """
    made = [listed(source, root, part) for part, source in sources(data).items()]
    beside = shifts.files(data, root) + ([data.heldout.index] if data.heldout.index else [])
    try:
        found = [state for each in made for state in states(each, root)]
        stats = ((name, (root / name).stat()) for name in beside)
        found += [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}") from None
    return of_value(found)


def prepare(data: Data, root: Path, advance: Callable[[], object] = lambda: None) -> Prepared:
    """Split the images that `data` names; `advance` is called once an image.

    Raises:
        DataError: no images, classes that train lacks, too few images for the held-out set, or,
            with `data.strict`, an image that cannot be used. All problems found are listed.
    """
    made = _listed(data, root)
    errors: list[str] = []
    found = {split: each.found for split, each in made.items()}
    problems = [problem for each in made.values() for problem in each.misplaced]
    classes = sorted({image.label for image in found["train"]})
    for split, each in made.items():
        if each.numbered and not made["train"].numbered:
            found[split] = by_number(each.found, classes, split, errors)
    trained = {image.path for image in found["train"]}
    for split, images in found.items():
        shared = sorted(i.path for i in images if i.path in trained)
        if shared and split not in ("train", "heldout"):
            errors.append(f"{split} has {len(shared)} images of train: {some(shared, 5)}")
    for split in [s for s in ("heldout", "test") if s in found]:
        unknown = sorted({i.label for i in found[split]} - set(classes))
        if unknown:
            near = [_with_nearest(name, classes) for name in unknown[:SHOWN]] + unknown[SHOWN:]
            errors.append(f"{split} has classes that train does not have: {some(near, SHOWN)}")
    arranged = shifts.arrange(data, found, classes, root)
    errors += arranged.problems
    if errors:
        raise DataError("\n".join(errors))

    found |= arranged.images
    rows: dict[str, list[Row]] = {}
    for split, images in found.items():
        good, bad = check(root, images, data.check, advance)
        rows[split] = [Row(i.path, i.label, split, content) for i, content in good]
        problems += bad
    if data.real:
        rows[REAL] = [
            replace(row, label=arranged.reassessed[row.path], split=REAL)
            for row in rows["test"]
            if row.path in arranged.reassessed
        ]
    if problems and data.strict:
        raise DataError(
            f"{len(problems)} images cannot be used (data.strict is true):\n  "
            + some([f"{p.path}: {p.reason}" for p in problems], SHOWN, "\n  ")
        )
    lost = sorted(set(classes) - {row.label for row in rows["train"]})
    if lost:
        errors.append(f"classes of which no train image can be used: {some(lost, SHOWN)}")
    errors += [f"{split}: no image can be used" for split, each in rows.items() if not each]
    if errors:
        raise DataError("\n".join([*errors, *(f"  {p.path}: {p.reason}" for p in problems[:20])]))
    development, notes = _hold_out(data, rows, made, root)
    looked_at_last = [each for split, each in rows.items() if split not in ("train", "heldout")]
    evaluation = sorted(row for each in looked_at_last for row in each)
    return Prepared(
        Manifest(tuple(development)),
        Manifest(tuple(evaluation)),
        tuple(problems),
        arranged.protocols,
        (*arranged.notes, *notes),
    )


def _listed(data: Data, root: Path) -> dict[str, Listed]:
    made: dict[str, Listed] = {}
    errors: list[str] = []
    for split, source in sources(data).items():
        try:
            made[split] = listed(source, root, split)
        except DataError as error:
            errors.append(str(error))
    if errors:
        raise DataError("\n".join(errors))
    return made


def _hold_out(
    data: Data, rows: Mapping[str, list[Row]], made: Mapping[str, Listed], root: Path
) -> tuple[list[Row], tuple[str, ...]]:
    """Train and held-out, and what is to be said of them."""
    train, inside = rows["train"], made["train"].inside
    if "heldout" in rows:
        split, taken = apart(train, rows["heldout"], inside, made["heldout"].inside)
        note = f"{taken} images of train stand in data.heldout.folder too, and do not train"
        return split, (note,) if taken else ()
    if data.heldout.index:
        return by_index(train, made["train"].found, data.heldout, root, inside), ()
    return by_hash(train, data.heldout, inside), ()


def _with_nearest(name: str, classes: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, classes, n=3)
    return f"{name} (nearest in train: {', '.join(near)})" if near else name


def counts(prepared: Prepared) -> dict[str, int]:
    """Images in each split."""
    return dict(Counter(row.split for row in (*prepared.development, *prepared.evaluation)))
