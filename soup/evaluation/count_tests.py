"""Intervals and paired tests of scores that are functions of counts (F1, Matthews).

Such a score is not a mean over examples, so the formulas for means do not apply. Instead, the
counts are resampled, which is equivalent to resampling examples: a resample is a multinomial draw
of the counts by label and answer (of two models, by label and both answers). Only counts that are
not zero are held, of which there are no more than examples, whatever the number of classes. All
functions are pure, and take a seed.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from soup.evaluation.metrics import Compared, Interval, Labels, quantiles
from soup.evaluation.scores import ConfusionScore, Margins

PART = 250  # resamples that are drawn and scored at once


class Answers(NamedTuple):
    """The answers of a model to the examples of a split.

    Attributes:
        labels: class indices, int (examples,).
        answers: predicted class indices; -1 for an example without a prediction.
    """

    labels: Labels
    answers: Labels


class _Cells(NamedTuple):
    """How many examples of a label got which answers.

    Attributes:
        label: of each cell, (cells,).
        answers: of each model; the number of classes stands for an example without a prediction.
        counts: examples, (cells,).
    """

    label: Labels
    answers: list[Labels]
    counts: Labels


def value(score: ConfusionScore, groups: Sequence[Answers], classes: int) -> float:
    """The mean score over groups."""
    scores = []
    for group in groups:
        cells = _cells([group], classes)
        every = _margins(cells, [(cells.answers[0], cells.counts[None])], classes)
        scores.append(_scores(score, every))
    return float(np.mean(scores))


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
        cells = _cells([group], classes)
        for part, drawn in _resampled(rng, cells, resamples):
            told = _margins(cells, [(cells.answers[0], drawn)], classes)
            means[part] += _scores(score, told) / len(groups)
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
        cells = _cells([group_a, group_b], classes)
        first, second = cells.answers
        for part, drawn in _resampled(rng, cells, resamples):
            own, other = (_margins(cells, [(x, drawn)], classes) for x in cells.answers)
            resampled[part] += (_scores(score, own) - _scores(score, other)) / len(a)
        for part in _parts(draws):
            moved = rng.binomial(cells.counts, 0.5, size=(part.stop - part.start, len(first)))
            kept = cells.counts - moved
            own = _margins(cells, [(first, kept), (second, moved)], classes)
            other = _margins(cells, [(second, kept), (first, moved)], classes)
            swapped[part] += (_scores(score, own) - _scores(score, other)) / len(a)
    extreme = int((np.abs(swapped) >= abs(difference) - 1e-12).sum())
    return Compared(difference, quantiles(resampled, confidence), (extreme + 1) / (draws + 1))


def _scores(score: ConfusionScore, margins: Margins) -> NDArray[np.float64]:
    scores: NDArray[np.float64] = 1 - score.costs(margins).numpy()
    return scores


def _cells(models: Sequence[Answers], classes: int) -> _Cells:
    """The cells that hold examples, and the last of all."""
    wide = classes + 1
    index = models[0].labels
    for model in models:
        index = index * wide + model.answers % wide
    # `multinomial` draws all cells but the last, which gets the rest.
    last = classes * wide ** len(models) - 1
    index, counts = np.unique(np.append(index, last), return_counts=True)
    counts[-1] -= 1
    label, *answers = np.unravel_index(index, (classes, *[wide] * len(models)))
    return _Cells(label, answers, counts)


def _parts(size: int) -> Iterator[slice]:
    return (slice(start, min(start + PART, size)) for start in range(0, size, PART))


def _resampled(
    rng: np.random.Generator, cells: _Cells, resamples: int
) -> Iterator[tuple[slice, Labels]]:
    """Parts of the resamples, with the counts (resamples of the part, cells) of each."""
    n = cells.counts.sum()
    for part in _parts(resamples):
        yield part, rng.multinomial(n, cells.counts / n, size=part.stop - part.start)


def _margins(cells: _Cells, given: Sequence[tuple[Labels, Labels]], classes: int) -> Margins:
    """The margins of a model.

    Args:
        given: answers (cells,), with the counts (resamples, cells) of examples that got them.
    """
    label = np.tile(cells.label, len(given))
    answer = np.concatenate([answer for answer, _ in given])
    counts = np.concatenate([counts for _, counts in given], axis=1)
    right = label == answer
    sums = (
        _sums(counts[:, right], label[right], classes),
        _sums(counts, label, classes),
        _sums(counts, answer, classes + 1),
    )
    return Margins(*(torch.from_numpy(sum_) for sum_ in sums))


def _sums(counts: Labels, place: Labels, places: int) -> NDArray[np.float64]:
    """Sums of columns (resamples, cells) by the place of each, (resamples, places)."""
    belongs = csr_array((np.ones(len(place)), (place, np.arange(len(place)))), (places, len(place)))
    return np.ascontiguousarray((belongs @ counts.T).T)
