"""The split: which image trains, which is held out, which is looked at only in the end.

Two manifests rather than one: what is fitted and selected on (train, held-out) stands in
`development.csv`, what the result is proven on (test, shifts) in `evaluation.csv`. A stage that may
not see test or shifts is not given the second file.
"""

import csv
import hashlib
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from soup.data import shifts
from soup.data.folders import DataError, Found, Problem, check, scan
from soup.data.protocol import REAL, Protocol
from soup.params import Data, HeldOut
from soup.provenance import of_value

COLUMNS = ("path", "class", "split", "content")


@dataclass(frozen=True, order=True)
class Row:
    """One image of a manifest; `content` is its fingerprint when the split was made."""

    path: str
    label: str
    split: str
    content: str


@dataclass(frozen=True)
class Prepared:
    """The two manifests, each sorted by path, and the images left out.

    Attributes:
        protocols: how splits are judged that are not in the plain way.
        notes: lines for people on how the shifts were read.
    """

    development: tuple[Row, ...]
    evaluation: tuple[Row, ...]
    problems: tuple[Problem, ...]
    protocols: Mapping[str, Protocol] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def folders(data: Data) -> dict[str, str]:
    """Split -> folder; 'train' is still whole here."""
    return {"train": data.train, "test": data.test} | {n: s.folder for n, s in data.shifts.items()}


def listing(data: Data, root: Path) -> str:
    """A digest of which image files there are, with sizes and times: must prepare look again?

    Raises:
        DataError: a folder is missing or empty.
    """
    found = [image for folder in folders(data).values() for image in scan(root, folder)[0]]
    paths = [*(image.path for image in found), *shifts.files(data, root)]
    stats = ((path, (root / path).stat()) for path in paths)
    return of_value([(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats])


def prepare(data: Data, root: Path, advance: Callable[[], object] = lambda: None) -> Prepared:
    """Split the images that `data` names; `advance` is called once an image.

    Raises:
        DataError: no images, classes that train lacks, too few images for the held-out set, or,
            with `data.strict`, an image that cannot be used. All problems found are listed.
    """
    found: dict[str, list[Found]] = {}
    problems: list[Problem] = []
    errors: list[str] = []
    for split, folder in folders(data).items():
        try:
            found[split], misplaced = scan(root, folder)
            problems += misplaced
        except DataError as error:
            errors.append(str(error))
    if errors:
        raise DataError("\n".join(errors))
    classes = sorted({image.label for image in found["train"]})
    asked = shifts.arrange(data, found, classes, root)
    unknown = sorted({i.label for i in found["test"]} - set(classes))
    if unknown:
        errors.append(f"test has classes that train does not have: {_some(unknown)}")
    errors += asked.problems
    if errors:
        raise DataError("\n".join(errors))

    found |= asked.images
    rows: dict[str, list[Row]] = {}
    for split, images in found.items():
        good, bad = check(root, images, data.check, advance)
        rows[split] = [Row(i.path, i.label, split, content) for i, content in good]
        problems += bad
    if data.real:
        rows[REAL] = [
            replace(row, label=asked.reassessed[row.path], split=REAL)
            for row in rows["test"]
            if row.path in asked.reassessed
        ]
    if problems and data.strict:
        raise DataError(
            f"{len(problems)} images cannot be used (data.strict is true):\n  "
            + _some([f"{p.path}: {p.reason}" for p in problems], "\n  ")
        )
    lost = sorted(set(classes) - {row.label for row in rows["train"]})
    if lost:
        errors.append(f"classes of which no train image can be used: {_some(lost)}")
    errors += [f"{split}: no image can be used" for split, each in rows.items() if not each]
    if errors:
        raise DataError("\n".join([*errors, *(f"  {p.path}: {p.reason}" for p in problems[:20])]))
    development = _hold_out(rows.pop("train"), data.heldout, root / data.train, root)
    evaluation = sorted(row for each in rows.values() for row in each)
    return Prepared(
        tuple(development), tuple(evaluation), tuple(problems), asked.protocols, asked.notes
    )


def _hold_out(rows: Iterable[Row], how: HeldOut, folder: Path, root: Path) -> list[Row]:
    """Set aside the images of each class whose path inside the train folder hashes lowest.

    A hash of the path, unlike a position in a listing, is the same on every file system.
    """

    def order(row: Row) -> bytes:
        inside = Path(os.path.relpath(root / row.path, folder)).as_posix()
        return hashlib.sha256(inside.encode()).digest()

    by_class: dict[str, list[Row]] = {}
    for row in rows:
        by_class.setdefault(row.label, []).append(row)
    split: list[Row] = []
    short: list[str] = []
    for label, images in sorted(by_class.items()):
        count = how.per_class or max(1, round((how.fraction or 0) * len(images)))
        if count >= len(images):
            short.append(f"{label} ({len(images)})")
        for position, row in enumerate(sorted(images, key=order)):
            side = "heldout" if position < count else "train"
            split.append(Row(row.path, row.label, side, row.content))
    if short:
        wanted = f"{how.per_class} a class" if how.per_class else f"a share of {how.fraction}"
        raise DataError(
            f"too few images to hold out {wanted} and still train: {_some(short)}; "
            "lower data.heldout or add images"
        )
    return sorted(split)


def _some(items: Sequence[str], separator: str = ", ", most: int = 20) -> str:
    more = [f"and {len(items) - most} more"] if len(items) > most else []
    return separator.join([*items[:most], *more])


def to_csv(rows: Iterable[Row]) -> str:
    """A manifest as CSV: the same rows give the same bytes everywhere."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((r.path, r.label, r.split, r.content) for r in rows)
    return text.getvalue()


def read_csv(path: Path) -> list[Row]:
    """Read a manifest.

    Raises:
        DataError: it is missing or is no manifest.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *lines = csv.reader(file)
        if tuple(header) != COLUMNS:
            raise ValueError(f"columns {header}, expected {list(COLUMNS)}")
        return [Row(*line) for line in lines]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} is not a split manifest: {error}; run prepare") from None


def classes_of(rows: Iterable[Row]) -> list[str]:
    """The class names, sorted: position is label."""
    return sorted({row.label for row in rows})


def counts(prepared: Prepared) -> dict[str, int]:
    """Images in each split."""
    return dict(Counter(row.split for row in (*prepared.development, *prepared.evaluation)))
