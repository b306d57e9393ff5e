"""From logits and labels to figures: accuracy, likelihood, calibration, intervals, paired tests.

Everything is numpy on the CPU, pure, and seeded where it draws.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.special import log_softmax
from scipy.stats import binomtest

Logits = Float[ndarray, "examples classes"]
Labels = Int[ndarray, " examples"]
LabelSets = Int[ndarray, "examples most"]  # any of a row is right; -1 fills rows of fewer
Correct = Bool[ndarray, " examples"]


ROWS = 2048  # examples whose probabilities are in memory at once


class Interval(NamedTuple):
    low: float
    high: float


class Score(NamedTuple):
    """How a model does on the examples of a split.

    Attributes:
        right: which examples it gets right.
        nll: the mean negative log-likelihood of the labels, in nats.
        ece: the expected calibration error, a fraction.
    """

    right: Correct
    nll: float
    ece: float


def correct(logits: Logits, labels: Labels | LabelSets) -> Correct:
    """Which examples have their label, or one of their labels, on top. NaN logits are wrong."""
    top = logits.argmax(axis=1)
    hit = (_rows(labels) == top[:, None]).any(axis=1)
    right: Correct = hit & ~np.isnan(logits).any(axis=1)
    return right


def score(logits: Logits, labels: Labels | LabelSets, bins: int = 15) -> Score:
    """Which examples are right, the mean negative log-likelihood, and the calibration error.

    Computed in float64, some thousand examples at a time: the logits of a large split in float64,
    with their exponentials, would take several times the memory of the logits.

    Args:
        logits: of any precision; examples with a NaN are wrong, and make the figures NaN.
        bins: of the calibration error.
    """
    right = np.empty(len(labels), dtype=np.bool_)
    log_likelihood, confidence = np.empty(len(labels)), np.empty(len(labels))
    rows = _rows(labels)
    for start in range(0, len(labels), ROWS):
        part = slice(start, start + ROWS)
        some = logits[part].astype(np.float64)
        log_probabilities = log_softmax(some, axis=1)
        right[part] = correct(some, rows[part])
        log_likelihood[part] = _log_likelihood(log_probabilities, rows[part])
        confidence[part] = np.exp(log_probabilities.max(axis=1))
    nll = float(-log_likelihood.mean())
    return Score(right, nll, expected_calibration_error(confidence, right, bins))


def _log_likelihood(
    log_probabilities: Float[ndarray, "examples classes"], labels: LabelSets
) -> Float[ndarray, " examples"]:
    """Of the label; where there are several, that it is any of them."""
    picked = np.take_along_axis(log_probabilities, np.maximum(labels, 0), axis=1)
    with np.errstate(invalid="ignore"):  # NaN logits give NaN, as they should
        likelihood: Float[ndarray, " examples"] = np.logaddexp.reduce(
            np.where(labels < 0, -np.inf, picked), axis=1
        )
    return likelihood


def _rows(labels: Labels | LabelSets) -> LabelSets:
    return labels.reshape(len(labels), -1)


def expected_calibration_error(
    confidence: Float[ndarray, " examples"], right: Correct, bins: int
) -> float:
    """ECE with equal-mass bins: mean |confidence - accuracy| over bins of (nearly) equal size.

    The paper's calibration figure uses equal-mass bins; examples are ordered by confidence, ties by
    position, and cut into `bins` parts whose sizes differ by at most one.

    Args:
        confidence: the largest probability of each example.
    """
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = [abs(confidence[part].mean() - right[part].mean()) * len(part) for part in parts]
    return float(sum(gaps) / len(right))


def bootstrap(
    groups: Sequence[Float[ndarray, " _"]], resamples: int, confidence: float, seed: int
) -> Interval:
    """Percentile bootstrap interval of the mean of the groups' means over examples.

    One group gives the interval of a mean; several, the interval of a mean over shifts, each
    resampled on its own. Per-example scores take few distinct values here (right or wrong, or their
    paired difference), so that a resample is one multinomial draw of their counts: the same
    distribution as drawing examples one by one, at a cost that does not grow with their number.
    """
    rng = np.random.default_rng(seed)
    total = np.zeros(resamples)
    for scores in groups:
        values, counts = np.unique(scores, return_counts=True)
        draws = rng.multinomial(len(scores), counts / len(scores), size=resamples)
        total += draws @ values / len(scores)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(total / len(groups), tails)
    return Interval(float(low), float(high))


def mcnemar(a: Correct, b: Correct) -> float:
    """The two-sided exact McNemar p-value of two models on the same examples.

    Under the null, of the examples that exactly one gets right, each is as likely to be a's.
    """
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    if only_a + only_b == 0:
        return 1.0
    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue)


def permutation(
    a: Sequence[Bool[ndarray, " _"]],
    b: Sequence[Bool[ndarray, " _"]],
    draws: int = 10_000,
    seed: int = 0,
) -> float:
    """The two-sided p-value of a paired permutation test on the mean over groups of accuracy.

    Under the null a's and b's answers may be swapped example by example; only examples that exactly
    one gets right matter, and of m such examples a gets a Binomial(m, 1/2) number. The paper tests
    the mean over its shifts so.
    """
    rng = np.random.default_rng(seed)
    observed, null = 0.0, np.zeros(draws)
    for one, other in zip(a, b, strict=True):
        only_a, only_b = int((one & ~other).sum()), int((other & ~one).sum())
        m = only_a + only_b
        observed += (only_a - only_b) / len(one)
        null += (2 * rng.binomial(m, 0.5, size=draws) - m) / len(one)
    extreme = int((np.abs(null) >= abs(observed) - 1e-12).sum())
    return (extreme + 1) / (draws + 1)
