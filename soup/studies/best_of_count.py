"""The best single model of K, for every K, from the scores of a pool alone.

"Model soups" draws this curve over random orders of its models. No order needs to be drawn: of a
random subset of K among N models, the one that is chosen is the r-th best on held-out (r from 0)
with probability C(N - 1 - r, K - 1) / C(N, K), so that means and quantiles are exact.
"""

from collections.abc import Sequence
from math import comb

import numpy as np
import pandas as pd
from numpy.typing import NDArray

BAND = 0.9  # share of the subsets that a band holds


def chosen_ranks(models: int, count: int) -> NDArray[np.float64]:
    """The probability of each held-out rank to be the best of a random subset, (models,)."""
    subsets = comb(models, count)
    return np.array([comb(models - 1 - rank, count - 1) / subsets for rank in range(models)])


def best_of_count(scores: pd.DataFrame, splits: Sequence[str], band: float = BAND) -> pd.DataFrame:
    """The accuracy of the model that is chosen on held-out among K random models, for each K.

    Args:
        scores: a row for each model; columns 'heldout' and the splits, fractions. Of models that
            are equal on held-out the first is chosen.
        splits: to average.
        band: share of the subsets between `low` and `high`.

    Returns:
        Columns method ('best single'), split, x (K), mean, low, high; the bounds are values of
        models.
    """
    ranked = scores.sort_values("heldout", ascending=False, kind="stable")
    tails = ((1 - band) / 2, (1 + band) / 2)
    rows = []
    for count in range(1, len(ranked) + 1):
        probability = chosen_ranks(len(ranked), count)
        for split in splits:
            values = ranked[split].to_numpy(float)
            low, high = (_quantile(values, probability, tail) for tail in tails)
            rows.append(("best single", split, count, float(probability @ values), low, high))
    return pd.DataFrame(rows, columns=["method", "split", "x", "mean", "low", "high"])


def _quantile(values: NDArray[np.float64], probability: NDArray[np.float64], tail: float) -> float:
    """The smallest value that has at least `tail` of the probability at or below it."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(probability[order]) >= tail - 1e-12
    return float(values[order][int(reached.argmax())])
