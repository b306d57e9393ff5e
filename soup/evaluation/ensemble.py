"""Ensembles, which average the unnormalised logits of several models, as baselines for soups.

Wortsman et al., "Model soups", ICML 2022, section 2 and the appendix on ensembles.

The logits of each model are added to a running sum, so that only one model's logits are in memory.
The float64 sum of float16 logits is exact, and therefore does not depend on the order of models.
"""

from collections.abc import Iterable

import numpy as np

from soup.evaluation.metrics import Labels, Logits, correct


class LogitSum:
    """The running sum of several models' logits on the same examples."""

    def __init__(self) -> None:
        self.count = 0
        self._sum: Logits | None = None

    def add(self, logits: Logits) -> None:
        """Add the logits of one more model, float (examples, classes)."""
        if self._sum is None:
            self._sum = logits.astype(np.float64)
        else:
            self._sum += logits
        self.count += 1

    def mean(self) -> Logits:
        """The ensemble's logits, float64 (examples, classes). The sum cannot be used afterwards.

        Raises:
            ValueError: no logits were added.
        """
        if self._sum is None:
            raise ValueError("an ensemble needs a model")
        mean, self._sum = self._sum, None
        mean /= self.count
        return mean


def greedy(ranked: Iterable[Logits], labels: Labels) -> list[int]:
    """The greedy ensemble: Recipe 1 of the paper, applied to averages of logits.

    A model is kept if the ensemble with it has no fewer correct predictions than without it.

    Args:
        ranked: held-out logits of the models, by decreasing held-out accuracy; an iterator that is
            read once, so that only the sum of the kept logits stays in memory.
        labels: of the held-out examples.

    Returns:
        Indices of the kept models, in the order in which they were kept.
    """
    kept: list[int] = []
    total: Logits | None = None
    best = -1
    for index, logits in enumerate(ranked):
        candidate = logits.astype(np.float64) if total is None else total + logits
        right = int(correct(candidate, labels).sum())
        if right >= best:
            kept.append(index)
            total, best = candidate, right
    return kept
