"""Scores of predicted numbers (regression): the correlations of Pearson and Spearman.

GLUE scores STS-B by the mean of both. A correlation is 0 if the labels or the outputs are constant,
and NaN if an output is.

The best correlation that is still possible when some examples were not seen yet has a bound, so
that a candidate can be rejected early without changing any decision. With labels x and outputs y,

    1 - corr(x, y)^2 = min over a, b of |x - a - b y|^2 / |x - mean(x)|^2,

where b >= 0 if the correlation is not negative. The sum over all examples is at least the minimum
over those seen. For Pearson this minimum is the residual of a regression of x on y. For Spearman x
and y are ranks among all examples. Those of y are not known, but they rise with the outputs seen,
so that the minimum is at least the residual of the isotonic regression of the ranks of x.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy import ndarray

from soup.evaluation.metrics import Compared, Interval, NumberLabels, quantiles

MEASURE = "pearson-spearman"  # the score of GLUE
PART = 500  # resamples that are scored at once
Rows = Float[ndarray, "*draws examples"]


class Numbers(NamedTuple):
    """The predictions of a model for the examples of a split.

    Attributes:
        labels: (examples,).
        outputs: (examples,).
    """

    labels: NumberLabels
    outputs: NumberLabels

    @property
    def squared_errors(self) -> NumberLabels:
        """(examples,)."""
        squares: NumberLabels = (self.outputs.astype(np.float64) - self.labels) ** 2
        return squares


def pearson(outputs: Rows, labels: Rows) -> Float[ndarray, "*draws"]:
    """Pearson's correlation along the last axis."""
    outputs, labels = np.asarray(outputs, np.float64), np.asarray(labels, np.float64)
    with np.errstate(invalid="ignore"):  # outputs that are infinite give NaN, as they should
        a = outputs - outputs.mean(axis=-1, keepdims=True)
        b = labels - labels.mean(axis=-1, keepdims=True)
        spread = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
        constant = (np.ptp(outputs, axis=-1) == 0) | (np.ptp(labels, axis=-1) == 0)
        constant |= spread == 0
        correlation = (a * b).sum(axis=-1) / np.where(constant, 1, spread)
    return np.where(constant, 0.0, correlation)


def spearman(outputs: Rows, labels: Rows) -> Float[ndarray, "*draws"]:
    """Spearman's correlation along the last axis: Pearson's of the ranks, equal values sharing one.

    NaN if an output is not finite.
    """
    from scipy.stats import rankdata

    ranks = pearson(rankdata(outputs, axis=-1), rankdata(labels, axis=-1))
    return np.where(np.isfinite(outputs).all(axis=-1), ranks, np.nan)


def _best_pearson(outputs: NumberLabels, seen: NumberLabels, labels: NumberLabels) -> float:
    """An upper bound; see the module."""
    slope = max(0.0, float(pearson(outputs, seen)))
    return _from_residual((1 - slope**2) * _squares(seen), labels)


def _best_spearman(
    outputs: NumberLabels, seen: Shaped[ndarray, " seen"], labels: NumberLabels
) -> float:
    """An upper bound; `seen` and `labels` are ranks. See the module."""
    from scipy.optimize import isotonic_regression

    order = np.lexsort((seen, outputs))  # of equal outputs, the order that fits best
    fitted = isotonic_regression(seen[order]).x
    return _from_residual(float(((seen[order] - fitted) ** 2).sum()), labels)


def _squares(values: NumberLabels) -> float:
    return float(((values - values.mean()) ** 2).sum())


def _from_residual(residual: float, labels: NumberLabels) -> float:
    total = _squares(labels)
    return float(np.sqrt(max(0.0, 1 - residual / total))) if total > 0 else 0.0


@dataclass(frozen=True)
class NumberScore:
    """A correlation, or the mean of several, as a cost: see `score_bounds.BoundedScore`.

    Attributes:
        parts: the correlations that the score is the mean of: 'pearson', 'spearman'.
    """

    parts: tuple[str, ...]

    def scores(self, outputs: Rows, labels: Rows) -> Float[ndarray, "*draws"]:
        """The scores of outputs (..., examples)."""
        means: Float[ndarray, "*draws"] = np.mean(
            [CORRELATIONS[part](outputs, labels) for part in self.parts], axis=0
        )
        return means

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> float:
        """1 less the score of outputs (examples, 1) for labels (examples,)."""
        return 1 - float(self.scores(logits[:, 0].double().numpy(), labels.double().numpy()))

    def least(self, logits: torch.Tensor, seen: torch.Tensor, labels: torch.Tensor) -> float:
        """No more than the cost, whatever the outputs for the examples not seen are.

        Args:
            logits: outputs for the examples seen, (seen, 1).
            seen: indices of these examples, (seen,).
            labels: of all examples, (examples,).
        """
        from scipy.stats import rankdata

        outputs, every = logits[:, 0].double().numpy(), labels.double().numpy()
        if not np.isfinite(outputs).all():
            return -np.inf
        best = []
        for part in self.parts:
            numbers = rankdata(every) if part == "spearman" else every
            bound = _best_spearman if part == "spearman" else _best_pearson
            best.append(bound(outputs, numbers[seen.numpy()], numbers))
        return 1 - float(np.mean(best))


CORRELATIONS: dict[str, Callable[[Rows, Rows], Float[ndarray, "*draws"]]] = {
    "pearson": pearson,
    "spearman": spearman,
}
NUMBER_SCORES = {
    MEASURE: NumberScore(("pearson", "spearman")),
    "pearson": NumberScore(("pearson",)),
    "spearman": NumberScore(("spearman",)),
}


def value(score: NumberScore, groups: Sequence[Numbers]) -> float:
    """The mean score over groups."""
    return float(np.mean([score.scores(g.outputs, g.labels) for g in groups]))


def interval(
    score: NumberScore,
    groups: Sequence[Numbers],
    resamples: int,
    confidence: float,
    seed: int,
) -> Interval:
    """The percentile bootstrap interval of the mean score over groups.

    Args:
        groups: one group for a split, several for a mean over shifts; each is resampled by itself.
        confidence: level of the interval, a fraction.

    Returns:
        The interval; NaN if a group has no examples, or an output is NaN.
    """
    if not all(len(group.labels) for group in groups):
        return Interval(np.nan, np.nan)
    rng = np.random.default_rng(seed)
    means = np.zeros(resamples)
    for group in groups:
        n = len(group.labels)
        for part in _parts(resamples):
            drawn = rng.integers(n, size=(part.stop - part.start, n))
            means[part] += _scored(score, group, drawn) / len(groups)
    return quantiles(means, confidence)


def compare(
    score: NumberScore,
    a: Sequence[Numbers],
    b: Sequence[Numbers],
    resamples: int,
    confidence: float,
    seed: int,
    draws: int = 10_000,
) -> Compared:
    """Compare two models on the same examples.

    Null hypothesis of the test: the outputs of `a` and `b` for any example can be swapped.

    Args:
        a, b: the predictions of both models, group by group, with the same labels.
        draws: number of random permutations.

    The other arguments are those of `interval`.
    """
    difference = value(score, a) - value(score, b)
    if np.isnan(difference) or not all(len(group.labels) for group in a):
        return Compared(difference, Interval(np.nan, np.nan), np.nan)
    rng = np.random.default_rng(seed)
    resampled, swapped = np.zeros(resamples), np.zeros(draws)
    for group_a, group_b in zip(a, b, strict=True):
        n = len(group_a.labels)
        for part in _parts(resamples):
            drawn = rng.integers(n, size=(part.stop - part.start, n))
            gaps = _scored(score, group_a, drawn) - _scored(score, group_b, drawn)
            resampled[part] += gaps / len(a)
        for part in _parts(draws):
            swap = rng.random((part.stop - part.start, n)) < 0.5
            first = np.where(swap, group_b.outputs, group_a.outputs)
            second = np.where(swap, group_a.outputs, group_b.outputs)
            labels = np.broadcast_to(group_a.labels, swap.shape)
            gaps = score.scores(first, labels) - score.scores(second, labels)
            swapped[part] += gaps / len(a)
    extreme = int((np.abs(swapped) >= abs(difference) - 1e-12).sum())
    return Compared(difference, quantiles(resampled, confidence), (extreme + 1) / (draws + 1))


def _scored(
    score: NumberScore, group: Numbers, drawn: Shaped[ndarray, "draws examples"]
) -> Float[ndarray, " draws"]:
    """The scores of resamples, given as indices."""
    return score.scores(group.outputs[drawn], group.labels[drawn])


def _parts(count: int) -> list[slice]:
    return [slice(start, min(start + PART, count)) for start in range(0, count, PART)]
