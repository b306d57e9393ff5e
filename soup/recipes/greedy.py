"""Greedy soup: add an ingredient if the average does not get worse on held-out data.

Wortsman et al., "Model soups", ICML 2022 (arXiv 2203.05482), Recipe 1: sort by decreasing held-out
accuracy; S = {}; for i = 1..K: if acc(mean(S + theta_i)) >= acc(mean(S)) then S = S + theta_i.

Where the paper is silent: the first ingredient's accuracy is its own recorded one; ingredients
without a score are left out; equal scores keep the given order. The published code asks for a
strictly better score, `tie="reject"`.
"""

from collections.abc import Sequence
from typing import Literal

import torch

from soup.ingredient import Ingredient, Soup, Trial
from soup.recipes.judge import Judge
from soup.recipes.ranking import ranked
from soup.mean import RunningMean


def greedy(
    ingredients: Sequence[Ingredient],
    judge: Judge,
    tie: Literal["keep", "reject"] = "keep",
    accumulate: torch.dtype = torch.float64,
) -> Soup:
    """Cook the greedy soup. Each ingredient's weights are read once, against a running sum.

    Raises:
        ValueError: no ingredient was scored, or the tie rule is unknown.
        Incompatible: names or shapes differ.
    """
    if tie not in ("keep", "reject"):
        raise ValueError(
            f"unknown tie rule {tie!r}; known: keep (the paper), reject (strictly better)"
        )
    best, *rest = ranked(ingredients)
    mean = RunningMean(accumulate)
    mean.add(best.weights)
    errors = int(best.errors)
    trace = [Trial(best.name, errors, at_most=None, kept=True)]
    for candidate in rest:
        at_most = errors if tie == "keep" else errors - 1
        found = judge(mean.value(candidate.weights), at_most)
        kept = found is not None and found <= at_most
        trace.append(Trial(candidate.name, found, at_most, kept))
        if found is not None and kept:
            mean.add(candidate.weights)
            errors = found
    kept_names = tuple(trial.name for trial in trace if trial.kept)
    return Soup(mean.value(), kept_names, errors, tuple(trace))
