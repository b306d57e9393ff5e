"""Ensembles, which average the unnormalised logits of several models, as baselines for soups.

Wortsman et al., "Model soups", ICML 2022, section 2 and the appendix on ensembles.

`split_scores.py` sums their members' logits in float64.
"""

from collections.abc import Iterable

import numpy as np

from soup.evaluation.metrics import Labels, Logits, correct


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
