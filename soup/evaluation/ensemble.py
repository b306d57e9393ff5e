"""Ensembles of raw (unnormalised) logits: the costlier rival that a soup is measured against.

Wortsman et al., "Model soups", ICML 2022, section 2 and the appendix on ensembles.

A model's logits are added to a running sum, so that one model's are in memory at a time. The sum is
float64: of logits that are float16 it is exact, and so does not depend on their order.
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
        """Count one more model: float (examples, classes)."""
        if self._sum is None:
            self._sum = logits.astype(np.float64)
        else:
            self._sum += logits
        self.count += 1

    def mean(self) -> Logits:
        """The ensemble's logits, float64 (examples, classes). The sum is used up.

        Raises:
            ValueError: no model was counted.
        """
        if self._sum is None:
            raise ValueError("an ensemble needs a model")
        mean, self._sum = self._sum, None
        mean /= self.count
        return mean


def greedy(ranked: Iterable[Logits], labels: Labels) -> list[int]:
    """Recipe 1 over averages of logits: the indices kept, in the order of acceptance.

    An equal score is kept.

    Args:
        ranked: the models' held-out logits, by decreasing held-out accuracy; each is asked for
            once, and only the sum of those kept stays in memory.
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
