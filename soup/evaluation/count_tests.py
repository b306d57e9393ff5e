"""Intervals and paired tests of scores that are functions of counts (F1, Matthews).

Such a score is not a mean over examples, so the formulas for means do not apply. Instead, the
counts are resampled, which is equivalent to resampling examples: a resample is a multinomial draw
of the counts (for two models, of the counts by label and both answers). All functions are pure, and
take a seed.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from soup.evaluation.metrics import Compared, Interval, Labels, quantiles
from soup.evaluation.scores import ConfusionScore

# Number of resamples that are scored at once: their tables take 8 bytes a cell.
PART = 1000


class Answers(NamedTuple):
    """The answers of a model to the examples of a split.

    Attributes:
        labels: class indices, int (examples,).
        answers: predicted class indices; -1 for an example without a prediction.
    """

    labels: Labels
    answers: Labels


def value(score: ConfusionScore, groups: Sequence[Answers], classes: int) -> float:
    """The mean score over groups."""
    return float(np.mean([_scores(score, _table(group, classes)[None])[0] for group in groups]))


def interval(
    score: ConfusionScore,
    groups: Sequence[Answers],
    classes: int,
    resamples: int,
    confidence: float,
    seed: int,
) -> Interval:
    """The percentile bootstrap interval of the mean score over groups.

    Args:
        groups: one group for the score of a split; several groups for a mean over shifts. Each is
            resampled separately.
        classes: number of classes.
        resamples: number of resamples; those with an undefined score are left out.
        confidence: level of the interval, a fraction.

    Returns:
        The interval; NaN if a group has no examples.
    """
    if not all(len(group.labels) for group in groups):
        return Interval(math.nan, math.nan)
    rng = np.random.default_rng(seed)
    means = np.zeros(resamples)
    for group in groups:
        table = _table(group, classes)
        drawn = rng.multinomial(len(group.labels), table.reshape(-1) / table.sum(), size=resamples)
        means += _scores(score, drawn.reshape(resamples, *table.shape)) / len(groups)
    return quantiles(means, confidence)


def compare(
    score: ConfusionScore,
    a: Sequence[Answers],
    b: Sequence[Answers],
    classes: int,
    resamples: int,
    confidence: float,
    seed: int,
    draws: int = 10_000,
) -> Compared:
    """Compare two models on the same examples.

    Null hypothesis of the test: the answers of `a` and `b` to any example can be swapped. Among the
    examples of one label with the same two answers, Binomial(count, 1/2) are swapped.

    Args:
        a, b: the answers of both models, group by group, with the same labels.
        draws: number of random permutations.

    The other arguments are those of `interval`.
    """
    difference = value(score, a, classes) - value(score, b, classes)
    if not all(len(group.labels) for group in a):
        return Compared(math.nan, Interval(math.nan, math.nan), math.nan)
    rng = np.random.default_rng(seed)
    resampled, swapped = np.zeros(resamples), np.zeros(draws)
    for group_a, group_b in zip(a, b, strict=True):
        cells = _cells(group_a, group_b, classes)
        n, size = len(group_a.labels), cells.shape
        drawn = rng.multinomial(n, cells.reshape(-1) / n, size=resamples)
        resampled += _differences(score, drawn.reshape(resamples, *size)) / len(a)
        # Cell (label, x, y) and cell (label, y, x) are filled from both by the swap.
        moved = rng.binomial(cells, 0.5, size=(draws, *size))
        permuted = cells - moved + moved.swapaxes(2, 3)
        swapped += _differences(score, permuted) / len(a)
    extreme = int((np.abs(swapped) >= abs(difference) - 1e-12).sum())
    return Compared(difference, quantiles(resampled, confidence), (extreme + 1) / (draws + 1))


def _differences(score: ConfusionScore, cells: NDArray[np.int64]) -> NDArray[np.float64]:
    """The first model's score minus the second's, for counts (draws, label, first, second)."""
    return _scores(score, cells.sum(axis=3)) - _scores(score, cells.sum(axis=2))


def _scores(score: ConfusionScore, tables: NDArray[np.int64]) -> NDArray[np.float64]:
    """1 minus the costs of tables (draws, classes, classes + 1)."""
    parts = [tables[start : start + PART] for start in range(0, len(tables), PART)]
    costs = [score.costs(torch.from_numpy(part.astype(np.float64))) for part in parts]
    scores: NDArray[np.float64] = 1 - torch.cat(costs).numpy()
    return scores


def _table(group: Answers, classes: int) -> NDArray[np.int64]:
    """Counts (classes, classes + 1) by label and answer; the last column is without prediction."""
    pairs = group.labels * (classes + 1) + group.answers % (classes + 1)
    return np.bincount(pairs, minlength=classes * (classes + 1)).reshape(classes, classes + 1)


def _cells(a: Answers, b: Answers, classes: int) -> NDArray[np.int64]:
    """Counts (classes, classes + 1, classes + 1) by label, answer of `a` and answer of `b`."""
    wide = classes + 1
    index = (a.labels * wide + a.answers % wide) * wide + b.answers % wide
    return np.bincount(index, minlength=classes * wide * wide).reshape(classes, wide, wide)
