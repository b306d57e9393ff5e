"""Accuracy, likelihood, calibration, confidence intervals and paired tests, from logits and labels.

All functions are pure, use numpy on the CPU, and take a seed if they draw random numbers.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

Logits = Float[ndarray, "examples classes"]
Labels = Int[ndarray, " examples"]
NumberLabels = Float[ndarray, " examples"]  # labels of regression
LabelSets = Int[ndarray, "examples most"]  # each label of a row is right; -1 fills short rows
Correct = Bool[ndarray, " examples"]
Margins = Float[ndarray, " examples"]

ROWS = 2048  # examples whose probabilities are in memory at once


class Interval(NamedTuple):
    low: float
    high: float


class Compared(NamedTuple):
    """A paired comparison by a score that is no mean over examples.

    Attributes:
        difference: difference of the mean scores over groups.
        interval: interval of the difference, by the paired bootstrap.
        p_value: two-sided p-value, by the paired permutation test.
    """

    difference: float
    interval: Interval
    p_value: float


class Score(NamedTuple):
    """The score of a model on the examples of a split.

    Attributes:
        right: bool (examples,), which examples the model classifies correctly.
        nll: the mean negative log-likelihood of the labels, in nats.
        ece: the expected calibration error, a fraction.
        answers: int (examples,), the predicted classes (see `predicted`).
    """

    right: Correct
    nll: float
    ece: float
    answers: Labels | None = None


def correct(logits: Logits, labels: Labels | LabelSets) -> Correct:
    """Which examples are predicted to have their label, or one of their labels.

    An example without a prediction (see `predicted`) is not correct.
    """
    top = predicted(logits)
    right: Correct = (_rows(labels) == top[:, None]).any(axis=1) & (top >= 0)
    return right


def well_predicted(logits: Logits, labels: Labels | NumberLabels) -> Correct:
    """Which examples are correct; of predicted numbers, the half that is nearest to the labels.

    It decides in which order examples are visited, and no score.
    """
    if labels.dtype.kind != "f":
        return correct(logits, labels)
    errors = np.abs(logits[:, 0] - labels)
    near: Correct = errors <= np.median(errors)
    return near


def margins(logits: Logits, labels: Labels) -> Margins:
    """By how much the logit of each label exceeds the highest other one; below 0 it is an error.

    -inf where that is not a number. It decides in which order examples are visited, and no score.
    """
    parts = []
    for start in range(0, len(logits), ROWS):  # a copy of all logits would take much memory
        others = logits[start : start + ROWS].astype(np.float32)
        at = np.arange(len(others)), labels[start : start + ROWS]
        own, others[at] = others[at], -np.inf
        with np.errstate(invalid="ignore"):
            parts.append(
                np.nan_to_num(own - others.max(axis=1), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
            )
    return np.concatenate(parts)


def predicted(logits: Logits) -> Labels:
    """The class of the highest logit of each example, the first of equal ones.

    It is -1 for an example without a prediction: one of its logits is NaN, or all are -inf.
    """
    top = logits.argmax(axis=1)
    highest = logits[np.arange(len(top)), top]
    # argmax returns the first NaN, if there is any.
    return np.where(highest > -np.inf, top, -1)


def with_finite_maximum(logits: Logits) -> Logits:
    """Logits whose softmax exists wherever there is a prediction.

    The softmax of an infinite logit is taken as its limit: the classes at +inf share all
    probability. The softmax of an example without a prediction is NaN.
    """
    infinite = np.isposinf(logits)
    rows = infinite.any(axis=1) & ~np.isnan(logits).any(axis=1)
    if not rows.any():
        return logits
    limits = np.where(infinite, 0, -np.inf).astype(logits.dtype)
    return np.where(rows[:, None], limits, logits)


def score(logits: Logits, labels: Labels | LabelSets, bins: int = 15) -> Score:
    """Accuracy, negative log-likelihood and calibration error of a model on a split.

    Computed in float64 for 2,048 examples at a time, because the float64 logits of a large split
    and their exponentials would take several times the memory of the logits.

    Args:
        logits: of any precision. An example without a prediction (see `predicted`) is wrong, and
            makes `nll` and `ece` NaN, as does a set without examples.
        bins: number of bins of the calibration error.
    """
    from scipy.special import log_softmax

    right, answers = np.empty(len(labels), dtype=np.bool_), np.empty(len(labels), dtype=np.int64)
    log_likelihood, confidence = np.empty(len(labels)), np.empty(len(labels))
    rows = _rows(labels)
    for start in range(0, len(labels), ROWS):
        part = slice(start, start + ROWS)
        exact = logits[part].astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):  # only -inf gives NaN, as it should
            log_probabilities = log_softmax(with_finite_maximum(exact), axis=1)
        right[part], answers[part] = correct(exact, rows[part]), predicted(exact)
        log_likelihood[part] = _log_likelihood(log_probabilities, rows[part])
        confidence[part] = np.exp(log_probabilities.max(axis=1))
    nll = float(-log_likelihood.mean()) if len(labels) else math.nan
    return Score(right, nll, expected_calibration_error(confidence, right, bins), answers)


def _log_likelihood(
    log_probabilities: Float[ndarray, "examples classes"], labels: LabelSets
) -> Float[ndarray, " examples"]:
    """The log-probability of the label, or of any one of several labels."""
    picked = np.take_along_axis(log_probabilities, np.maximum(labels, 0), axis=1)
    with np.errstate(invalid="ignore"):  # NaN logits give NaN, as they should
        likelihood: Float[ndarray, " examples"] = np.logaddexp.reduce(
            np.where(labels < 0, -np.inf, picked), axis=1
        )
    return likelihood


def _rows(labels: Labels | LabelSets) -> LabelSets:
    """Labels as sets: (examples,) becomes (examples, 1)."""
    return labels if labels.ndim == 2 else labels[:, None]


def expected_calibration_error(
    confidence: Float[ndarray, " examples"], right: Correct, bins: int
) -> float:
    """The expected calibration error: the mean |confidence - accuracy| over equal-mass bins.

    The calibration figure of "Model soups" uses equal-mass bins too. Examples are sorted by
    confidence (ties by position) and cut into `bins` parts whose sizes differ by at most one.

    Args:
        confidence: the largest probability of each example.
        right: which examples are classified correctly.
        bins: number of bins.
    """
    if not len(right):
        return math.nan
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = [abs(confidence[part].mean() - right[part].mean()) * len(part) for part in parts]
    return float(sum(gaps) / len(right))


def bootstrap(
    groups: Sequence[Float[ndarray, " _"]], resamples: int, confidence: float, seed: int
) -> Interval:
    """The percentile bootstrap interval of the mean over groups of the mean over examples.

    One group gives the interval of a mean; several groups give that of a mean over shifts, where
    each shift is resampled separately. The scores take few distinct values (right or wrong, or a
    paired difference), so that a resample is one multinomial draw of their counts. This has the
    distribution of drawing examples one by one, at a cost that does not grow with their number.

    Args:
        groups: the scores of the examples of each group.
        resamples: number of resamples.
        confidence: level of the interval, a fraction.

    Returns:
        The interval; NaN if a group has no examples.
    """
    if not all(map(len, groups)):
        return Interval(math.nan, math.nan)
    rng = np.random.default_rng(seed)
    total = np.zeros(resamples)
    for scores in groups:
        values, counts = np.unique(scores, return_counts=True)
        draws = rng.multinomial(len(scores), counts / len(scores), size=resamples)
        total += draws @ values / len(scores)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(total / len(groups), tails)
    return Interval(float(low), float(high))


def quantiles(values: Float[ndarray, " resamples"], confidence: float) -> Interval:
    """The central interval of resampled scores; those that are not defined are left out."""
    known = values[~np.isnan(values)]
    if not len(known):
        return Interval(math.nan, math.nan)
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def accuracy_interval(
    groups: Sequence[Bool[ndarray, " _"]], resamples: int, confidence: float, seed: int
) -> Interval:
    """The interval of the mean over groups of the accuracy on each.

    It is `bootstrap`'s, but for examples that are all right or all wrong. No resample of those
    differs, which would claim certainty. The interval is then that of Clopper and Pearson
    (Biometrika 1934), with as many examples in each group as the smallest has.

    Args:
        groups: for each group, which examples are classified correctly.

    The other arguments are those of `bootstrap`.
    """
    drawn = bootstrap([group.astype(float) for group in groups], resamples, confidence, seed)
    if math.isnan(drawn.low) or any(group.any() and not group.all() for group in groups):
        return drawn
    count = len(groups) * min(map(len, groups))
    reach = 1 - ((1 - confidence) / 2) ** (1 / count)
    return Interval(max(0.0, drawn.low - reach), min(1.0, drawn.high + reach))


def mcnemar(a: Correct, b: Correct) -> float:
    """The p-value of the two-sided exact McNemar test of two models on the same examples.

    Null hypothesis: an example that exactly one model classifies correctly is equally likely to be
    classified correctly by `a` and by `b`.
    """
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    if only_a + only_b == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue)


def permutation(
    a: Sequence[Bool[ndarray, " _"]],
    b: Sequence[Bool[ndarray, " _"]],
    draws: int = 10_000,
    seed: int = 0,
) -> float:
    """The p-value of the two-sided paired permutation test of the mean accuracy over groups.

    Null hypothesis: the predictions of `a` and `b` can be swapped example by example. Only the m
    examples that exactly one model classifies correctly matter; `a` is correct on a number of them
    that is distributed as Binomial(m, 1/2). "Model soups" tests its mean over shifts this way.

    Args:
        a, b: for each group, which examples the model classifies correctly.
        draws: number of random permutations.

    Returns:
        The p-value; NaN if a group has no examples.
    """
    if not all(map(len, a)):
        return math.nan
    rng = np.random.default_rng(seed)
    observed, null = 0.0, np.zeros(draws)
    for right_a, right_b in zip(a, b, strict=True):
        only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
        m = only_a + only_b
        observed += (only_a - only_b) / len(right_a)
        null += (2 * rng.binomial(m, 0.5, size=draws) - m) / len(right_a)
    extreme = int((np.abs(null) >= abs(observed) - 1e-12).sum())
    return (extreme + 1) / (draws + 1)
