"""Make the split of texts into train, held-out, test and shifts.

The manifests have the form of those of images (`soup.data.split`): the path of a row is the address
of a text (`soup.data.text.texts`), its content the text's fingerprint.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from soup.config.data import Data, Source, in_hub
from soup.config.text import TextData
from soup.data.errors import DataError
from soup.data.sources.folders import relative
from soup.data.split.manifest import Manifest, Row, in_order, order_note, too_few
from soup.data.split.prepare import Prepared
from soup.data.text.holdout import by_content
from soup.data.text.listing import Labelled, Listed, listed
from soup.data.text.tables import state
from soup.errors import near, some
from soup.files import of_value

SHOWN = 5


def sources(data: Data) -> dict[str, Source]:
    """Split -> the table of its texts."""
    held = {"heldout": data.heldout.folder} if data.heldout.folder else {}
    shifts = {name: Source(path=shift.folder) for name, shift in data.shifts.items()}
    return {"train": data.train, **held, "test": data.test, **shifts}


def listing(data: Data, root: Path) -> str:
    """A digest of the paths, sizes and times of all tables; if it changes, prepare runs again.

    Raises:
        DataError: a table is missing or cannot be used.
    """
    text = _text(data)
    files = [
        file
        for part, source in sources(data).items()
        for file in listed(source, text, root, part, data.hub).files
    ]
    return of_value([(relative(file, root), state(file)) for file in files])


def splits_of_hub(data: Data) -> list[str]:
    """The splits of the data set of the hub that are read."""
    paths = [source.path for source in sources(data).values()]
    return [path.partition(":")[2] for path in paths if in_hub(path)]


def predicts_numbers(data: Data) -> bool:
    """Whether the labels are numbers (regression) instead of classes."""
    return data.text is not None and data.text.predicts_numbers


def prepare_texts(data: Data, root: Path, advance: Callable[[], object] = lambda: None) -> Prepared:
    """Check and split the texts of `data`.

    Args:
        root: the data root, to which the paths of the manifests are relative.
        advance: called after each split.

    Raises:
        DataError: a table cannot be used; test or held-out has labels that train lacks; there are
            too few texts; a text cannot be used and `data.strict` is set; or test shares texts
            with train or held-out and `data.overlap` does not allow it. The message lists all
            problems.
    """
    _refuse_images_only(data)
    text = _text(data)
    listings: dict[str, Listed] = {}
    errors: list[str] = []
    for part, source in sources(data).items():
        try:
            listings[part] = listed(source, text, root, part, data.hub)
        except DataError as error:
            errors.append(f"{part}: {error}")
        advance()
    if errors:
        raise DataError("\n".join(errors))
    numbers = predicts_numbers(data)
    classes = in_order(item.label for item in listings["train"].found)
    errors = [] if numbers else _unseen(listings, classes)
    problems = [problem for listing in listings.values() for problem in listing.problems]
    if data.strict and problems:
        errors.append(
            f"{len(problems)} texts cannot be used (data.strict is true):\n  "
            + some([f"{p.path}: {p.reason}" for p in problems], 20, "\n  ")
        )
    errors += [] if numbers else too_few("train", classes)
    if errors:
        raise DataError("\n".join(errors))

    train, held, notes = _held_out(data, listings, classes=not numbers)
    others = {part: listings[part].found for part in listings if part not in ("train", "heldout")}
    warnings = _overlaps(data, train, held, others, classes=not numbers)
    warnings += [] if numbers else _missing(classes, {"heldout": held, "test": others["test"]})
    if not numbers and (note := order_note(classes)):
        warnings.append(note)
    development = [*_rows("train", train), *_rows("heldout", held)]
    evaluation = [row for part, found in others.items() for row in _rows(part, found)]
    return Prepared(
        Manifest(tuple(sorted(development))),
        Manifest(tuple(sorted(evaluation))),
        tuple(problems),
        notes=(*(note for listing in listings.values() for note in listing.notes), *notes),
        warnings=tuple(warnings),
    )


def _text(data: Data) -> TextData:
    assert data.text is not None, "prepare_texts is for data with a 'text' section"
    return data.text


def _refuse_images_only(data: Data) -> None:
    given = [name for name in ("real", "shapes") if getattr(data, name) is not None]
    given += ["heldout.index"] if data.heldout.index is not None else []
    given += [
        f"shifts.{name}.layout" for name, shift in data.shifts.items() if shift.layout != "auto"
    ]
    if given:
        raise DataError(
            f"{', '.join('data.' + name for name in given)}: of images alone, and data.text says "
            "that these are texts"
        )


def _rows(split: str, found: Iterable[Labelled]) -> list[Row]:
    return [Row(item.path, item.label, split, item.text.content) for item in found]


def _unseen(listings: Mapping[str, Listed], classes: Sequence[str]) -> list[str]:
    """Messages about labels that train does not have."""
    lines = []
    for part, listing in listings.items():
        counts = Counter(item.label for item in listing.found if item.label not in classes)
        if counts:
            told = [f"{label} ({n} times){near(label, classes)}" for label, n in counts.items()]
            lines.append(
                f"{part} has labels that train does not have: {some(told, SHOWN)}; train has "
                f"{some(classes, SHOWN)}"
            )
    return lines


def _held_out(
    data: Data, listings: Mapping[str, Listed], classes: bool
) -> tuple[list[Labelled], list[Labelled], list[str]]:
    """The texts of train and of held-out, and messages for the user."""
    train = listings["train"].found
    if "heldout" in listings:
        held = listings["heldout"].found
        shared = _sentences(held)
        kept = [item for item in train if shared.isdisjoint(item.text.sentences)]
        taken = len(train) - len(kept)
        lost = {item.label for item in train} - {item.label for item in kept}
        if (lost and classes) or not kept:
            raise DataError(
                f"data.heldout.folder shares sentences with all texts to train on of "
                f"{some(sorted(lost), SHOWN)}"
            )
        note = f"{taken} texts of train share a sentence with data.heldout.folder, and do not train"
        return kept, held, [note] if taken else []
    held_out = by_content(train, data.heldout, classes)
    return (
        [item for index, item in enumerate(train) if index not in held_out],
        [item for index, item in enumerate(train) if index in held_out],
        [],
    )


def _sentences(found: Iterable[Labelled]) -> set[str]:
    return {sentence for item in found for sentence in item.text.sentences}


def _overlaps(
    data: Data,
    train: Sequence[Labelled],
    held: Sequence[Labelled],
    others: Mapping[str, Sequence[Labelled]],
    classes: bool,
) -> list[str]:
    """Messages about texts that occur more than once.

    Raises:
        DataError: test shares texts with train or held-out, and `data.overlap` forbids it.
    """
    lines = []
    development = [*train, *held]
    labels_of: dict[tuple[str, ...], set[str]] = {}
    for item in development:
        labels_of.setdefault(item.text.sentences, set()).add(item.label)
    if copies := len(development) - len(labels_of):
        lines.append(f"train: {copies} texts are copies of others")
    odd = [" / ".join(text)[:80] for text, labels in labels_of.items() if len(labels) > 1]
    if odd and classes:
        lines.append(f"train: {len(odd)} texts have several labels: {some(odd, SHOWN)}")
    path_of = {item.text.sentences: item.path for item in development}
    seen = _sentences(development)
    for part, found in others.items():
        both = [item for item in found if item.text.sentences in path_of]
        if both:
            told = some([f"{i.path} is {path_of[i.text.sentences]}" for i in both], SHOWN)
            line = f"{part}: {len(both)} of {len(found)} texts stand in train or held-out: {told}"
            if part == "test" and data.overlap == "error":
                raise DataError(
                    f"{line}; take them out of one of the two, or set data.overlap: report, and "
                    "they count all the same"
                )
            lines.append(line)
        if part == "test" and found and found[0].text.pair is not None:
            partly = sum(
                item.text.sentences not in path_of and not seen.isdisjoint(item.text.sentences)
                for item in found
            )
            if partly:
                lines.append(
                    f"{part}: {partly} of {len(found)} pairs have one text in train or held-out"
                )
    return lines


def _missing(classes: Sequence[str], found: Mapping[str, Sequence[Labelled]]) -> list[str]:
    """A message for each split that lacks classes."""
    lines = []
    for split, items in found.items():
        lost = [name for name in classes if name not in {item.label for item in items}]
        if lost:
            lines.append(f"{split} has no text of {len(lost)} classes: {some(lost, 20)}")
    return lines
