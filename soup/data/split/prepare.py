"""Making the split: which image trains, which is held out, which only evaluates the result.

There are two manifests: `development.csv` lists the images that models are fitted and selected on
(train, held-out), `evaluation.csv` those that the result is measured on (test, shifts). A stage
that may not see test and shifts is not given the second file.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from soup.config.data import Data, Source
from soup.data.errors import DataError
from soup.data.reading.limits import Limits
from soup.data.shifts import arrange as shifts
from soup.data.shifts.protocol import REAL, EvaluationProtocol
from soup.data.sources.folders import Found, Problem, check
from soup.data.sources.listing import Listed, by_number, listed, states
from soup.data.split.holdout import apart, by_hash, by_index
from soup.data.split.manifest import Manifest, Row, in_order, order_note, too_few
from soup.data.split.overlap import overlaps, read_where_alike
from soup.errors import near, some
from soup.files import of_value

SHOWN = 20


@dataclass(frozen=True)
class Prepared:
    """What `prepare` makes.

    Attributes:
        development: train and held-out, sorted by path.
        evaluation: test and shifts, sorted by path.
        problems: the images that were left out, and why.
        protocols: split -> how it is judged, where that is not the default way.
        notes: lines for the user.
        warnings: lines for the user, of what may be a mistake.
    """

    development: Manifest
    evaluation: Manifest
    problems: tuple[Problem, ...]
    protocols: Mapping[str, EvaluationProtocol] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def sources(data: Data) -> dict[str, Source]:
    """Split -> where its images are.

    'train' includes the held-out images, unless these have a folder of their own.
    """
    held = {"heldout": data.heldout.folder} if data.heldout.folder else {}
    shifts = {name: Source(path=shift.folder) for name, shift in data.shifts.items()}
    return {"train": data.train, **held, "test": data.test, **shifts}


def listing(data: Data, root: Path) -> str:
    """A digest of the paths, sizes and times of all image files; if it differs, prepare runs again.

    Raises:
        DataError: a folder is missing or empty.
    """
    listings = [listed(source, root, split, data.roots) for split, source in sources(data).items()]
    others = shifts.files(data, root) + ([data.heldout.index] if data.heldout.index else [])
    try:
        files = [state for images in listings for state in states(images, root)]
        stats = ((name, (root / name).stat()) for name in others)
        files += [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}") from None
    return of_value(files)


def prepare(data: Data, root: Path, advance: Callable[[], object] = lambda: None) -> Prepared:
    """Check and split the images that `data` names.

    Args:
        root: the data root, which the manifests' paths are relative to.
        advance: called after each image.

    Raises:
        DataError: no images, one class alone, classes that train lacks, too few images for the
            held-out set, or, with `data.strict`, an image that cannot be used; or test shares
            pictures with train or held-out, unless `data.overlap` allows it. All problems found are
            listed.
    """
    listings = _listings(data, root)
    found, errors = _labelled(listings)
    classes = in_order(image.label for image in found["train"])
    arranged = shifts.arrange(data, found, classes, root)
    errors += [*too_few("train", classes), *arranged.problems]
    if errors:
        raise DataError("\n".join(errors))

    found |= arranged.images
    limits = Limits(**data.limits.model_dump())
    rows: dict[str, list[Row]] = {}
    pictures: dict[str, str] = {}
    problems = [problem for listing in listings.values() for problem in listing.misplaced]
    for split, images in found.items():
        good, bad = check(root, images, data.check, advance, limits)
        rows[split] = [Row(i.path, i.label, split, content) for i, content, _ in good]
        pictures |= {image.path: picture for image, _, picture in good}
        problems += bad
    if data.strict and (unusable := [p for p in problems if p.image]):
        raise DataError(
            f"{len(unusable)} images cannot be used (data.strict is true):\n  "
            + some([f"{p.path}: {p.reason}" for p in unusable], SHOWN, "\n  ")
        )
    lost = sorted(set(classes) - {row.label for row in rows["train"]})
    if lost:
        errors.append(f"classes of which no train image can be used: {some(lost, SHOWN)}")
    errors += [f"{split}: no image can be used" for split, usable in rows.items() if not usable]
    if errors:
        raise DataError("\n".join([*errors, *(f"  {p.path}: {p.reason}" for p in problems[:20])]))
    if data.check == "header":
        pictures = read_where_alike(pictures, root, limits)
    development, notes = _hold_out(data, rows, listings, root, pictures)
    others = {split: rows[split] for split in rows if split not in ("train", "heldout")}
    warnings = overlaps(data.overlap, development, others, pictures)
    warnings += _without_images(classes, (*development, *rows["test"]))
    if note := order_note(classes):
        warnings.append(note)
    if data.real:
        others[REAL] = [
            replace(row, label=arranged.reassessed[row.path], split=REAL)
            for row in rows["test"]
            if row.path in arranged.reassessed
        ]
    return Prepared(
        Manifest(tuple(development)),
        Manifest(tuple(sorted(row for images in others.values() for row in images))),
        tuple(problems),
        arranged.protocols,
        (*arranged.notes, *notes),
        tuple(warnings),
    )


def _labelled(listings: Mapping[str, Listed]) -> tuple[dict[str, list[Found]], list[str]]:
    """Split -> its images, with train's classes for labels; and what is wrong with the labels."""
    errors: list[str] = []
    found = {split: listing.found for split, listing in listings.items()}
    classes = in_order(image.label for image in found["train"])
    for split, listing in listings.items():
        numbers = listing.numbered or all(image.label.isdecimal() for image in listing.found)
        if numbers and listing.numbered != listings["train"].numbered:
            found[split] = by_number(listing.found, classes, split, errors)
    trained = {image.path for image in found["train"]}
    for split, images in found.items():
        shared = sorted(i.path for i in images if i.path in trained)
        if shared and split not in ("train", "heldout"):
            errors.append(f"{split} has {len(shared)} images of train: {some(shared, 5)}")
    for split in [s for s in ("heldout", "test") if s in found]:
        unknown = sorted({i.label for i in found[split]} - set(classes))
        if unknown:
            told = [name + near(name, classes) for name in unknown]
            errors.append(f"{split} has classes that train does not have: {some(told, SHOWN)}")
    return found, errors


def _listings(data: Data, root: Path) -> dict[str, Listed]:
    """Split -> its images; all problems are raised at once."""
    listings: dict[str, Listed] = {}
    errors: list[str] = []
    for split, source in sources(data).items():
        try:
            listings[split] = listed(source, root, split, data.roots)
        except DataError as error:
            errors.append(str(error))
    if errors:
        raise DataError("\n".join(errors))
    return listings


def _without_images(classes: Sequence[str], rows: Iterable[Row]) -> list[str]:
    """A line for each of held-out and test that lacks classes."""
    present = {(row.split, row.label) for row in rows}
    lines = []
    for split in ("heldout", "test"):
        missing = [name for name in classes if (split, name) not in present]
        if missing:
            lines.append(f"{split} has no image of {len(missing)} classes: {some(missing, SHOWN)}")
    return lines


def _hold_out(
    data: Data,
    rows: Mapping[str, list[Row]],
    listings: Mapping[str, Listed],
    root: Path,
    pictures: Mapping[str, str],
) -> tuple[list[Row], tuple[str, ...]]:
    """The rows of train and held-out, and lines for the user."""
    train, inside = rows["train"], listings["train"].inside
    if "heldout" in rows:
        inside_held = listings["heldout"].inside
        split, taken, alike = apart(train, rows["heldout"], inside, inside_held, pictures)
        notes = {
            f"{taken} images of train stand in data.heldout.folder too, and do not train": taken,
            f"{alike} images of train have class and name of another picture in "
            "data.heldout.folder, and train; where these are the same, resized or compressed "
            "again, take them out of train": alike,
        }
        return split, tuple(note for note, count in notes.items() if count)
    if data.heldout.index:
        return by_index(train, listings["train"].found, data.heldout, root, inside), ()
    return by_hash(train, data.heldout, inside, pictures), ()


def counts(prepared: Prepared) -> dict[str, int]:
    """Images in each split."""
    return dict(Counter(row.split for row in (*prepared.development, *prepared.evaluation)))
