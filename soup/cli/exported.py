"""An exported file beside its model: the same answers, and as fast as another model's file."""

import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from soup.cli.image_files import image_files, readable
from soup.errors import BadInput
from soup.models import DESCRIPTION_FILE, Architecture
from soup.models.exporting import TOKENS, Inputs, NotExported, export, exportable, opened
from soup.weights.checkpoint import Checkpoint

DRAWN = 16  # inputs, where none are given
MOST = 512  # of those that are given
BATCH = 16
TOLERANCE = 1e-3  # of logits, as a share of the largest
ROUNDS = 5


class Check(NamedTuple):
    """How an exported file answers.

    Attributes:
        difference: the largest difference of a logit from the model's.
        largest: the largest logit of the model, without its sign.
        compared: the number of inputs.
        what: they are.
    """

    difference: float
    largest: float
    compared: int
    what: str


def check(folder: Path, file: Path, form: str, given: Sequence[Path]) -> Check:
    """Export a model, and compare the file with it.

    Args:
        given: images, folders or tables of texts; none: random input.

    Raises:
        NotExported: it cannot be, or the file answers otherwise and was deleted.
    """
    architecture = Architecture.load(folder / DESCRIPTION_FILE)
    model, names = exportable(architecture, Checkpoint(folder))
    batches, what = inputs_of(architecture, names, given)
    export(model, batches[0], file, form, architecture.text())
    run = opened(file, form)
    difference = largest = 0.0
    for batch in batches:
        with torch.no_grad():
            expected = model(*batch.values())
        found = run(batch)
        here = float((found - expected).abs().max())
        difference = here if math.isnan(here) else max(difference, here)
        if math.isnan(difference):  # `max` would lose it
            break
        largest = max(largest, float(expected.abs().max()))
    if not difference <= TOLERANCE * max(1.0, largest):  # NaN too
        file.unlink(missing_ok=True)
        raise NotExported(
            f"the file of {form} answers otherwise than the model, by {difference:.3g} where the "
            f"largest logit is {largest:.3g}; it is not kept"
        )
    count = sum(len(next(iter(batch.values()))) for batch in batches)
    return Check(difference, largest, count, what)


def timed(
    folder: Path, file: Path, against: Path, form: str, given: Sequence[Path]
) -> dict[str, float]:
    """Milliseconds for each input of two models' files, which take turns; the best of five rounds.

    Args:
        file: exported from the model in `folder`.
        against: folder of another model.
    """
    architecture = Architecture.load(against / DESCRIPTION_FILE)
    other, names = exportable(architecture, Checkpoint(against))
    theirs, _ = inputs_of(architecture, names, given)
    own = Architecture.load(folder / DESCRIPTION_FILE)
    ours, _ = inputs_of(own, exportable(own, Checkpoint(folder))[1], given)
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / f"against{file.suffix}"
        export(other, theirs[0], copy, form, "")
        runs = ((opened(file, form), ours), (opened(copy, form), theirs))
        best = [float("inf")] * 2
        for _ in range(ROUNDS):
            for index, (run, batches) in enumerate(runs):
                start = time.perf_counter()
                for batch in batches:
                    run(batch)
                best[index] = min(best[index], time.perf_counter() - start)
    counts = [sum(len(next(iter(b.values()))) for b in batches) for batches in (ours, theirs)]
    return {str(f): 1e3 * s / n for f, s, n in zip((folder, against), best, counts, strict=True)}


def inputs_of(
    architecture: Architecture, names: Sequence[str], given: Sequence[Path]
) -> tuple[list[Inputs], str]:
    """Batches of at least two inputs, and what they are, for people."""
    if architecture.of_text:
        return _tokens(architecture, names, given)
    if not given:
        size = architecture.image_size
        drawn = torch.randn(DRAWN, 3, size, size, generator=torch.Generator().manual_seed(0))
        return [{names[0]: drawn}], "random inputs (--on gives images)"
    from soup.cli.terminal import tell_left_out
    from soup.models.transforms import image_input

    inputs = image_input(architecture)
    files, others = image_files(given)
    _, pixels, bad = readable(files[:MOST], inputs.resize)
    tell_left_out([*bad, *others])
    tensors = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    parts = [inputs.prepare(part).contiguous() for part in tensors.split(BATCH)]
    return [{names[0]: part} for part in _pairs(parts)], "images"


def _tokens(
    architecture: Architecture, names: Sequence[str], given: Sequence[Path]
) -> tuple[list[Inputs], str]:
    from soup.models.inputs import text_input_of

    texts: list[tuple[str, str | None]] = [("a text", None), ("another, longer text", None)]
    if given:
        from soup.data.text.columns import of_texts
        from soup.data.text.tables import read_table
        from soup.data.text.texts import at

        texts = []
        for file in given:
            table = read_table(file)
            columns = of_texts(table.columns, file)
            texts += [at(table, columns, position) for position in range(len(table.numbers))]
    if not texts:
        raise BadInput(f"{given[0]} has no texts")
    texts = (texts * 2 if len(texts) == 1 else texts)[:MOST]
    encoded = text_input_of(architecture)
    made: list[Inputs] = []
    for first in range(0, len(texts) - 1, BATCH):
        pieces = encoded.encode(texts[first : first + BATCH])
        shape = len(pieces), max(len(piece.ids) for piece in pieces)
        every = {name: torch.zeros(shape, dtype=torch.int64) for name in TOKENS}
        every["input_ids"].fill_(encoded.pad)
        for row, piece in enumerate(pieces):
            count = len(piece.ids)
            every["input_ids"][row, :count] = torch.tensor(piece.ids)
            every["attention_mask"][row, :count] = 1
            every["token_type_ids"][row, :count] = torch.tensor(piece.types)
        made.append({name: every[name] for name in names})
    return made, "texts" if given else "made-up texts (--on gives a table)"


def _pairs(parts: Sequence[Tensor]) -> list[Tensor]:
    """Batches of two at least: of one, an exporter would take the size for a constant."""
    return [part if len(part) > 1 else part.repeat(2, 1, 1, 1) for part in parts]
