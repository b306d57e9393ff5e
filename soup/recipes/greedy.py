"""Greedy soup: add an ingredient if the average does not become worse on held-out data.

Wortsman et al., "Model soups", ICML 2022 (arXiv 2203.05482), Recipe 1: sort by decreasing held-out
accuracy; S = {}; for i = 1..K: if acc(mean(S + theta_i)) >= acc(mean(S)) then S = S + theta_i.

Where the paper is silent: the accuracy of the first ingredient is the recorded one, not measured
again; ingredients without a score are left out; ingredients with equal scores keep the given
order. The published code demands a strictly better score, which is `tie="reject"` here.

With `order="answers"` the candidate that is tried next is the one whose logits, averaged with those
of the soup so far, are best (RADIN's proxy); each is still tried once, and judged as before.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch

from soup.recipes.ingredient import Ingredient, Soup, Trial, Unusable
from soup.recipes.judge import Judge, as_judged, foresee
from soup.recipes.means_ahead import MeansAhead
from soup.recipes.proposing import Predictions, proposed
from soup.recipes.ranking import ranked
from soup.weights.running_mean import RunningMean

Tie = Literal["keep", "reject"]
Order = Literal["score", "answers"]


def greedy(
    ingredients: Sequence[Ingredient],
    judge: Judge,
    tie: Tie = "keep",
    accumulate: torch.dtype = torch.float64,
    order: Order = "score",
    predictions: Predictions | None = None,
) -> Soup:
    """Add models that cause no more errors, best first: the first choice with held-out data.

    The weights of an ingredient are read while the one before is judged, again when that one or it
    is kept, and never later. So the mean that is judged and the next one are in memory.

    Args:
        ingredients: candidates, in any order.
        judge: counts the held-out errors of a mean.
        tie: whether to keep a candidate that leaves the number of errors as it is.
        accumulate: the dtype of the sum.
        order: of the candidates after the best: by their score, or by what they add to the answers
            of the soup so far.
        predictions: held-out logits of the ingredients, which `order="answers"` needs.

    Raises:
        Unusable: two ingredients have the same name, none was scored, the tie rule or the order is
            unknown, or there is nothing to order by.
        Incompatible: names or shapes differ.
    """
    require_tie(tie)
    _require_order(order, predictions)
    best, *rest = ranked(ingredients)
    mean = RunningMean(accumulate)
    mean.add(best.weights)
    errors = recorded_errors(best)
    trace = [Trial(best.name, errors, at_most=None, kept=True)]
    added = {best.name: 1}

    def place() -> int:
        """Where in `rest` the next candidate of the present soup is."""
        return 0 if order == "score" or not rest else proposed(rest, added, predictions, most=1)[0]

    with MeansAhead(mean) as means:
        following = place()
        while rest:
            candidate = rest.pop(following)
            mean_with = means.of(candidate)
            if rest:  # most candidates are rejected: then this is the next
                following = place()
                means.begin(rest[following])
            at_most = most_errors(errors, tie)
            foresee(judge, [*added, candidate.name])
            errors_with = judge(mean_with, at_most)
            kept = errors_with is not None and errors_with <= at_most
            trace.append(Trial(candidate.name, errors_with, at_most, kept))
            if errors_with is not None and kept:
                means.add(candidate)
                added[candidate.name], errors = 1, errors_with
                following = place()
    kept_names = tuple(trial.name for trial in trace if trial.kept)
    weights = mean.result() if len(kept_names) == 1 else as_judged(mean.result(), judge)
    return Soup(weights, kept_names, errors, tuple(trace))


def require_tie(tie: str) -> None:
    """Raise `Unusable` if the tie rule is unknown."""
    if tie not in ("keep", "reject"):
        raise Unusable(
            f"unknown tie rule {tie!r}; known: keep (the paper), reject (strictly better)"
        )


def _require_order(order: str, predictions: Predictions | None) -> None:
    if order not in ("score", "answers"):
        raise Unusable(f"unknown order {order!r}; known: score (the paper), answers (RADIN's)")
    if order == "answers" and predictions is None:
        raise Unusable("order: answers needs the held-out answers of all ingredients")


def recorded_errors(ingredient: Ingredient) -> float:
    """Return an ingredient's errors, as an integer if they are a whole number."""
    errors = float(ingredient.errors)
    return int(errors) if errors.is_integer() else errors


def most_errors(errors: float, tie: Tie) -> float:
    """Return the most errors with which a candidate is kept, given the errors without it."""
    if tie == "keep":
        return errors
    return errors - 1 if isinstance(errors, int) else math.nextafter(errors, -math.inf)
