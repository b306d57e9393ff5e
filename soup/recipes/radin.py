"""RADIN: rank many random soups by the mean of their members' logits, and judge the best in full.

Kangaslahti et al., "RADIN: souping on a budget", 2024 (arXiv 2401.17790): the mean of the logits of
models foretells how good the mean of their weights is. The logits of each model on the held-out set
are known once it was scored, so that ranking needs no pass of any model.

    candidates S_1 ... S_n drawn at random,  r_j = errors(mean_{i in S_j} logits_i),
    errors(mean_{i in S_j} theta_i) for the few S_j of the lowest r_j; the best of them is the soup.

Our decisions: the size of a candidate is drawn evenly from 2 to K, then its members; the best
single model is among the candidates, and wins if no soup has as few errors; of equal ranks the
candidate drawn first is tried first. `repetition` may propose its additions, and `greedy` order its
candidates, in the same way (`soup.recipes.proposing`).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from soup.errors import some
from soup.recipes.greedy import recorded_errors
from soup.recipes.ingredient import Ingredient, Soup, Trial, Unusable
from soup.recipes.judge import Judge, as_judged, foresee
from soup.recipes.proposing import Predictions, cost_of
from soup.recipes.ranking import ranked
from soup.weights import average


def radin(
    ingredients: Sequence[Ingredient],
    judge: Judge,
    predictions: Predictions,
    candidates: int = 1000,
    tried: int = 10,
    seed: int = 0,
) -> Soup:
    """Judge only the most promising of many random soups: where few evaluations can be afforded.

    Args:
        ingredients: candidates, in any order.
        judge: counts the held-out errors of a mean.
        predictions: of the ingredients.
        candidates: how many random soups are ranked.
        tried: how many of them are judged.
        seed: of the random soups.

    Raises:
        Unusable: no ingredient was scored, two have the same name, or a number is out of range.
        Incompatible: names or shapes differ.
    """
    if candidates < 1 or tried < 1:
        raise Unusable(f"candidates ({candidates}) and tried ({tried}) of radin are at least 1")
    pool = ranked(ingredients)
    best = Soup(average([pool[0].weights]), (pool[0].name,), recorded_errors(pool[0]), ())
    trace, kept = [Trial(pool[0].name, best.errors, at_most=None, kept=True)], 0
    for members in promising(pool, predictions, candidates, seed)[:tried]:
        names = tuple(pool[index].name for index in members)
        weights = average([pool[index].weights for index in members])
        at_most = best.errors
        foresee(judge, names)
        errors = judge(weights, at_most)
        trace.append(Trial(some(names, 8, " + "), errors, at_most, kept=False))
        if errors is not None and at_most is not None and errors <= at_most:
            best, kept = Soup(weights, names, errors, ()), len(trace) - 1
    trace = [replace(trial, kept=number == kept) for number, trial in enumerate(trace)]
    weights = as_judged(best.weights, judge) if kept else best.weights
    return replace(best, weights=weights, trace=tuple(trace))


def promising(
    pool: Sequence[Ingredient], predictions: Predictions, candidates: int, seed: int
) -> list[tuple[int, ...]]:
    """Return random subsets of two or more ingredients, as indices, by the cost of their logits."""
    generator = torch.Generator().manual_seed(seed)
    drawn: dict[tuple[int, ...], None] = {}
    for _ in range(candidates if len(pool) > 1 else 0):
        size = int(torch.randint(2, len(pool) + 1, (), generator=generator))
        members = torch.randperm(len(pool), generator=generator)[:size]
        drawn[tuple(sorted(members.tolist()))] = None
    costs = {m: cost_of(predictions, dict.fromkeys((pool[i].name for i in m), 1)) for m in drawn}
    return sorted(drawn, key=costs.__getitem__)
