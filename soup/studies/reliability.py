"""Calibration of logits: temperature scaling, reliability curves, and the equal-mass error.

Guo et al., "On calibration of modern neural networks", ICML 2017: the logits are divided by one
temperature, which minimises the likelihood's loss on held-out; answers stay the same.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from soup.evaluation.metrics import (
    Interval,
    Labels,
    Logits,
    expected_calibration_error,
    predicted,
    with_finite_maximum,
)

LARGEST = 100.0  # temperature; the smallest is 1 / LARGEST
Floats = NDArray[np.float64]


class Confidence(NamedTuple):
    """The largest probability of each example, and whether its answer is right."""

    confidence: Floats
    right: NDArray[np.bool_]

    def error(self, bins: int) -> float:
        """The expected calibration error over equal-mass bins."""
        return expected_calibration_error(self.confidence, self.right, bins)


def temperature(logits: Logits, labels: Labels) -> float:
    """The temperature of the least negative log-likelihood, between 1 / LARGEST and LARGEST.

    The loss is convex in the inverse temperature, so that the minimum is the only one.

    Args:
        logits: float (examples, classes).
        labels: (examples,).
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    exact = with_finite_maximum(logits.astype(np.float64))
    rows = np.arange(len(labels))

    def loss(log_inverse: float) -> float:
        return float(-log_softmax(np.exp(log_inverse) * exact, axis=1)[rows, labels].mean())

    bound = float(np.log(LARGEST))
    options = {"xatol": 1e-6}
    best = minimize_scalar(loss, bounds=(-bound, bound), method="bounded", options=options)
    return float(np.exp(-best.x))


def confidence(logits: Logits, labels: Labels, at: float = 1.0) -> Confidence:
    """The confidence of answers at a temperature.

    Args:
        logits: float (examples, classes).
        labels: (examples,), or (examples, most) with sets of right labels, filled with -1.
        at: the temperature.
    """
    from scipy.special import log_softmax

    exact = with_finite_maximum(logits.astype(np.float64)) / at
    answers = predicted(logits)
    sets = labels if labels.ndim == 2 else labels[:, None]
    right = (sets == answers[:, None]).any(axis=1) & (answers >= 0)
    return Confidence(np.exp(log_softmax(exact, axis=1).max(axis=1)), right)


def reliability(scored: Confidence, bins: int) -> list[tuple[int, float, float]]:
    """The bins of the equal-mass error: examples, mean confidence and accuracy of each."""
    order = np.argsort(scored.confidence, kind="stable")
    return [
        (len(part), float(scored.confidence[part].mean()), float(scored.right[part].mean()))
        for part in np.array_split(order, bins)
        if len(part)
    ]


def difference_interval(
    first: list[Confidence],
    second: list[Confidence],
    bins: int,
    resamples: int,
    level: float,
    seed: int,
) -> Interval:
    """The paired percentile bootstrap interval of the second's error less the first's.

    Args:
        first, second: of two models on the same examples of each split; errors are means over
            splits, each of which is resampled on its own.
    """
    rng = np.random.default_rng(seed)
    draws = np.empty(resamples)
    for number in range(resamples):
        total = 0.0
        for a, b in zip(first, second, strict=True):
            rows = rng.integers(len(a.right), size=len(a.right))
            errors = [Confidence(c.confidence[rows], c.right[rows]).error(bins) for c in (a, b)]
            total += errors[1] - errors[0]
        draws[number] = total / len(first)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
