"""Greedy soup: add an ingredient if the average does not get worse on held-out data.

Wortsman et al., "Model soups", ICML 2022 (arXiv 2203.05482), Recipe 1: sort by decreasing held-out
accuracy; S = {}; for i = 1..K: if acc(mean(S + theta_i)) >= acc(mean(S)) then S = S + theta_i.

Where the paper is silent: the first ingredient's accuracy is its own recorded one; ingredients
without a score are left out; equal scores keep the given order. The published code asks for a
strictly better score, `tie="reject"`.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch

from soup.recipes.ingredient import Ingredient, Soup, Trial
from soup.recipes.judge import Judge
from soup.recipes.ranking import ranked
from soup.weights.running_mean import RunningMean

Tie = Literal["keep", "reject"]


def greedy(
    ingredients: Sequence[Ingredient],
    judge: Judge,
    tie: Tie = "keep",
    accumulate: torch.dtype = torch.float64,
) -> Soup:
    """Each in its turn, if it does no harm: the first choice wherever there is held-out data.

    Each ingredient's weights are read once, against a running sum.

    Args:
        tie: whether a candidate that leaves the errors as they are is kept.

    Raises:
        ValueError: no ingredient was scored, or the tie rule is unknown.
        Incompatible: names or shapes differ.
    """
    require_tie(tie)
    best, *rest = ranked(ingredients)
    mean = RunningMean(accumulate)
    mean.add(best.weights)
    errors = errors_of(best)
    trace = [Trial(best.name, errors, at_most=None, kept=True)]
    for candidate in rest:
        at_most = bound(errors, tie)
        found = judge(mean.value(candidate.weights), at_most)
        kept = found is not None and found <= at_most
        trace.append(Trial(candidate.name, found, at_most, kept))
        if found is not None and kept:
            mean.add(candidate.weights)
            errors = found
    kept_names = tuple(trial.name for trial in trace if trial.kept)
    return Soup(mean.value(), kept_names, errors, tuple(trace))


def require_tie(tie: str) -> None:
    """Raise ValueError if the tie rule is unknown."""
    if tie not in ("keep", "reject"):
        raise ValueError(
            f"unknown tie rule {tie!r}; known: keep (the paper), reject (strictly better)"
        )


def errors_of(ingredient: Ingredient) -> float:
    """The recorded errors, as an integer if they are one; a cost that is none stays as it is."""
    errors = float(ingredient.errors)
    return int(errors) if errors.is_integer() else errors


def bound(errors: float, tie: Tie) -> float:
    """The most that a candidate may cost."""
    if tie == "keep":
        return errors
    return errors - 1 if isinstance(errors, int) else math.nextafter(errors, -math.inf)
