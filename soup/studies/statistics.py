"""Correlations over pairs of models, and shares, with intervals that allow for what pairs share."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
Pair = tuple[str, str]
Numbers = NDArray[np.float64]


class Correlation(NamedTuple):
    """Spearman's rank correlation, mostly over pairs of models.

    Attributes:
        value: NaN if one of the two quantities is the same for all pairs.
        low, high: the 95% interval of the bootstrap over models.
        p: of the permutation test; over pairs the models' names are shuffled (Mantel, 1967).
        pairs: number of pairs.
    """

    value: float
    low: float
    high: float
    p: float
    pairs: int

    def __str__(self) -> str:
        if self.pairs == 1:
            return "not defined for a single pair"
        if math.isnan(self.value):
            return f"not defined, as one of them is the same for all {self.pairs} pairs"
        p = "< 0.001" if self.p < 0.001 else f"= {self.p:.3f}"
        interval = f"interval {_signed(self.low)} to {_signed(self.high)}"
        return f"{_signed(self.value)} ({interval}, p {p}, {self.pairs} pairs)"


def pair_correlation(
    pairs: Sequence[Pair], x: Sequence[float], y: Sequence[float], seed: int = 0
) -> Correlation:
    """The rank correlation of two quantities of pairs of models.

    Pairs with a model in common are not independent. So the interval is of the bootstrap over
    models (a pair counts the product of how often its two were drawn); the test shuffles models.

    Args:
        pairs: names of the two models of each pair.
        x, y: the quantities, one number a pair.
    """
    from scipy.stats import rankdata

    names = sorted({name for pair in pairs for name in pair})
    place = {name: index for index, name in enumerate(names)}
    rows, columns = (np.array([place[pair[end]] for pair in pairs]) for end in (0, 1))
    ranks_x, ranks_y = rankdata(x), rankdata(y)
    value = float(_weighted(ranks_x, ranks_y, np.ones(len(pairs))))
    if math.isnan(value):
        return Correlation(value, math.nan, math.nan, math.nan, len(pairs))
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(names), [1 / len(names)] * len(names), size=DRAWS)
    drawn = _weighted(ranks_x, ranks_y, (counts[:, rows] * counts[:, columns]).astype(np.float64))
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    of_y = np.full((len(names), len(names)), np.nan)
    of_y[rows, columns] = of_y[columns, rows] = ranks_y
    orders = rng.permuted(np.tile(np.arange(len(names)), (DRAWS, 1)), axis=1)
    shuffled = of_y[orders[:, rows], orders[:, columns]]
    there = ~np.isnan(shuffled)  # not all pairs may be known
    null = _weighted(ranks_x, np.where(there, shuffled, 0.0), there.astype(float))
    null = null[~np.isnan(null)]
    extreme = int((np.abs(null) >= abs(value) - 1e-12).sum())
    p = (extreme + 1) / (len(null) + 1)
    return Correlation(value, float(low), float(high), p, len(pairs))


def correlation(x: Sequence[float], y: Sequence[float], seed: int = 0) -> Correlation:
    """The rank correlation of two quantities of things that have nothing in common.

    The interval is of the bootstrap over things, and p of the test that shuffles `y`.
    """
    from scipy.stats import rankdata

    ranks_x, ranks_y, n = rankdata(x), rankdata(y), len(x)
    value = float(_weighted(ranks_x, ranks_y, np.ones(n)))
    if math.isnan(value):
        return Correlation(value, math.nan, math.nan, math.nan, n)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(n, [1 / n] * n, size=DRAWS).astype(np.float64)
    low, high = np.nanquantile(_weighted(ranks_x, ranks_y, counts), [0.025, 0.975])
    shuffled = rng.permuted(np.tile(ranks_y, (DRAWS, 1)), axis=1)
    null = _weighted(ranks_x, shuffled, np.ones((DRAWS, n)))
    extreme = int((np.abs(null) >= abs(value) - 1e-12).sum())
    return Correlation(value, float(low), float(high), (extreme + 1) / (DRAWS + 1), n)


def share(count: int, of: int) -> str:
    """A count in words with the 95% interval of its share: "7 of 9 (45 to 94 %)"."""
    from scipy.stats import binomtest

    if not of:
        return "0 of 0"
    low, high = binomtest(count, of).proportion_ci(method="wilson")
    return f"{count} of {of} ({100 * low:.0f} to {100 * high:.0f} %)"


def mean_interval(
    values: Sequence[float], pairs: Sequence[Pair], seed: int = 0
) -> tuple[float, float]:
    """The 95% interval of a mean over pairs of models, by the bootstrap over models."""
    names = sorted({name for pair in pairs for name in pair})
    place = {name: index for index, name in enumerate(names)}
    rows, columns = (np.array([place[pair[end]] for pair in pairs]) for end in (0, 1))
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(names), [1 / len(names)] * len(names), size=DRAWS)
    weights = counts[:, rows] * counts[:, columns]
    known = weights.sum(axis=1) > 0
    means = weights[known] @ np.asarray(values, dtype=float) / weights[known].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _weighted(x: Numbers, y: Numbers, weights: Numbers) -> Numbers:
    """The weighted Pearson correlations over the last axis; NaN where one is not defined."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = weights / weights.sum(axis=-1, keepdims=True)
        x = x - (shares * x).sum(axis=-1, keepdims=True)
        y = y - (shares * y).sum(axis=-1, keepdims=True)
        variances = (shares * x**2).sum(axis=-1) * (shares * y**2).sum(axis=-1)
        together = (shares * x * y).sum(axis=-1) / np.sqrt(variances)
    return np.where(variances > 1e-12, together, np.nan)


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\u2212")
