"""Ensembles of raw (unnormalised) logits: the costlier rival that a soup is measured against.

Wortsman et al., "Model soups", ICML 2022, section 2 and the appendix on ensembles.
"""

from collections.abc import Sequence

import numpy as np

from soup.evaluation.metrics import Labels, Logits, correct


def mean(logits: Sequence[Logits]) -> Logits:
    """The mean of several models' logits, accumulated in float64."""
    return np.asarray(np.mean(np.stack(logits), axis=0, dtype=np.float64))


def greedy(heldout: Sequence[Logits], labels: Labels) -> list[int]:
    """Recipe 1 over averages of logits: the indices kept, in the order of acceptance.

    Models are tried by decreasing held-out accuracy, equal ones in the given order; an equal score
    is kept.
    """
    hits = [int(correct(each, labels).sum()) for each in heldout]
    order = sorted(range(len(heldout)), key=lambda i: -hits[i])
    kept: list[int] = []
    total = np.zeros_like(heldout[0], dtype=np.float64)
    best = -1
    for index in order:
        candidate = total + heldout[index]
        hit = int(correct(candidate, labels).sum())
        if hit >= best:
            kept.append(index)
            total, best = candidate, hit
    return kept
