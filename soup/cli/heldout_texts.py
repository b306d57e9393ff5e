"""Open a table of labelled texts as the held-out set of a model (`--heldout FILE.csv`)."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soup.cli.terminal import warn
from soup.config.data import Source
from soup.config.text import TextData
from soup.data.errors import DataError
from soup.data.text.examples import TextExamples, labels_of
from soup.data.text.listing import listed
from soup.data.text.tokens import Tokens, tokens_of
from soup.errors import some
from soup.evaluation.evaluator import Evaluator
from soup.files import of_value
from soup.models import ModelError, build
from soup.models.by_name import INPUT, Resolved
from soup.models.inputs import text_input_of
from soup.models.text_by_folder import text_architecture, unsupported
from soup.weights.checkpoint import Checkpoint


def open_text_evaluator(
    file: Path,
    weights: Checkpoint,
    devices: Sequence[str],
    batch_size: int,
    tell: Callable[[Resolved], None] = lambda _: None,
) -> Evaluator:
    """Read a table with the columns text, text_pair (optional) and label, for a text model.

    Args:
        file: the table, or TASK:FILE for a file of a GLUE task.
        weights: any of the models to be judged.
        tell: called with the model before any text is read.

    Raises:
        DataError: the table cannot be used, or has labels that the model does not know.
        ModelError: nothing says that the checkpoint is of a text model.
    """
    architecture = text_architecture(weights)
    if architecture is None:
        raise ModelError(
            f"{weights.path} is judged on texts ({file}), and does not say that it is of a text "
            f"model: {unsupported(weights) or 'its description is of another'}"
        )
    tell(Resolved(architecture, True, dict.fromkeys(INPUT, "")))
    numeric = architecture.predicts_numbers
    table = listed(Source(path=str(file)), TextData(numbers=numeric), Path.cwd(), "heldout")
    labels = _labels([item.label for item in table.found], architecture.classes, file)
    texts = [item.text for item in table.found]
    encode, name, pad = text_input_of(architecture)
    digest = of_value([name, [text.content for text in texts]])

    def tokenised() -> Tokens:
        made = tokens_of(texts, encode)
        if made.cut:
            _warn_once(f"{file}: {made.cut}")
        return made

    examples = TextExamples(labels, digest, pad, tokenised)
    first = build(architecture, weights)
    models = (first, *(deepcopy(first) for _ in devices[1:]))
    built = tuple(model.to(device) for model, device in zip(models, devices, strict=True))
    skipped = tuple(f"{problem.path}: {problem.reason}" for problem in table.problems)
    return Evaluator(examples, architecture, built, batch_size, skipped)


def _labels(written: Sequence[str], classes: Sequence[str], file: Path) -> NDArray[Any]:
    """The labels of a table for a model with these classes, or the number that it predicts.

    Raises:
        DataError: the labels are neither all names of classes nor all numbers of rows of the head.
    """
    if len(classes) == 1:
        return labels_of(written, classes)
    position = {name: index for index, name in enumerate(classes)}
    if position.keys().isdisjoint(written):
        position = {str(row): row for row in range(len(classes))}
    strange = sorted({*written} - position.keys())
    if strange:
        raise DataError(
            f"{file} has labels that the model does not know: {some(strange, 8)}; it knows "
            f"{some(classes, 8)}; or give for all labels the rows of its head, 0 to "
            f"{len(classes) - 1}"
        )
    return np.array([position[label] for label in written], np.int64)


@cache
def _warn_once(text: str) -> None:
    """Warn, but not again for each of the models that are compared."""
    warn(text)
