"""Examples that exactly one of two models answers rightly, by how far the models are apart."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from soup.evaluation.metrics import Correct, Labels, Logits, correct, predicted, with_finite_maximum
from soup.evaluation.targets import Targets


class Opinion(NamedTuple):
    """The answers of a model to the examples of a split.

    Attributes:
        answers: indices of the split's answers, int (examples,); -1 for no prediction.
        right: which of them are right.
        probability: that the model gives to the right answer, float (examples,); 0 if unknown.
    """

    answers: Labels
    right: Correct
    probability: NDArray[np.float64]


class Disagreement(NamedTuple):
    """An example that one model answers rightly and the other wrongly.

    Attributes:
        example: its index.
        margin: the difference of the probabilities that the models give to the right answer.
    """

    example: int
    margin: float


def opinion(logits: Logits, target: Targets) -> Opinion:
    """The answers of a model with these logits of the classes, float (examples, classes)."""
    own = target.project(logits).astype(np.float64)
    finite = with_finite_maximum(own)
    with np.errstate(invalid="ignore"):  # only -inf, as of an example without a prediction
        shares = np.exp(finite - finite.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
    labels = target.labels if target.labels.ndim == 2 else target.labels[:, None]
    of_labels = np.take_along_axis(shares, np.maximum(labels, 0), axis=1)
    probability = np.where(labels >= 0, of_labels, 0).sum(axis=1)
    return Opinion(predicted(own), correct(own, target.labels), np.nan_to_num(probability))


def mended(soup: Opinion, single: Opinion, most: int) -> list[Disagreement]:
    """The examples that the first model alone answers rightly, the largest margins first.

    Args:
        most: how many of them; of equal margins, the first examples are taken.
    """
    margins = soup.probability - single.probability
    chosen = np.flatnonzero(soup.right & ~single.right)
    order = chosen[np.argsort(-margins[chosen], kind="stable")][:most]
    return [Disagreement(int(index), float(margins[index])) for index in order]


def answer_name(target: Targets, answer: int, classes: Sequence[str]) -> str:
    """The name of an answer of a split; several classes that count as one are joined."""
    if answer < 0:
        return "none"
    names = [classes[column] for column in target.groups[answer]]
    return " / ".join(names[:3]) + (" / ..." if len(names) > 3 else "")
