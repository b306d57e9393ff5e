"""Ensembles, which average the unnormalised logits of several models, as baselines for soups.

Wortsman et al., "Model soups", ICML 2022, section 2 and the appendix on ensembles.

`split_scores.py` sums their members' logits in float64.
"""

import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from soup.evaluation.metrics import Labels, Logits, NumberLabels, correct


def greedy(
    ranked: Iterable[Logits],
    labels: Labels | NumberLabels,
    score: Callable[[Tensor, Tensor], float] | None = None,
) -> list[int]:
    """The greedy ensemble: Recipe 1 of the paper, applied to averages of logits.

    A model is kept if the ensemble with it has no fewer correct predictions than without it, or no
    lower score.

    Args:
        ranked: held-out logits of the models, by decreasing held-out accuracy; an iterator that is
            read once, so that only the sum of the kept logits stays in memory.
        labels: of the held-out examples.
        score: mean logits, labels -> cost, if the ensemble is selected by another score.

    Returns:
        Indices of the kept models, in the order in which they were kept.
    """
    kept: list[int] = []
    total: Logits | None = None
    best = -math.inf
    for index, logits in enumerate(ranked):
        candidate = logits.astype(np.float64) if total is None else total + logits
        if score is None:
            right: float = int(correct(candidate, labels).sum())
        else:
            mean = torch.from_numpy(candidate / (len(kept) + 1))
            right = -score(mean, torch.from_numpy(labels))
        if right >= best or not kept:
            kept.append(index)
            total, best = candidate, right
    return kept
