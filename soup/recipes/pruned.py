"""Pruned soup: start from all, and drop from the worst on whoever the soup does without.

Dansereau et al., "Model soups to increase inference without increasing compute time", 2023 (arXiv
2301.10092): S = all; for i = K..1, by decreasing held-out accuracy: if
acc(mean(S - theta_i)) >= acc(mean(S)) then S = S - theta_i.

Where the paper is silent: one pass, as its code does by default; the last one left stays; of equal
scores the last given goes first; ingredients without a score have no place in the order and are
left out.
"""

from collections.abc import Sequence

from soup.recipes.ingredient import Ingredient, Soup, Trial
from soup.recipes.judge import Judge
from soup.recipes.ranking import ranked
from soup.weights import average


def pruned(ingredients: Sequence[Ingredient], judge: Judge) -> Soup:
    """All, less those that the soup does without: where most ingredients are good.

    The trace holds a trial for each, worst first: the soup's errors without it.

    Raises:
        ValueError: no ingredient was scored, or two have one name.
        Incompatible: names or shapes differ.
    """
    members = ranked(ingredients)
    weights = average([each.weights for each in members])
    errors = judge(weights)
    trace = []
    for each in reversed(members):
        rest = [other for other in members if other is not each]
        without = average([other.weights for other in rest]) if rest else weights
        found = judge(without, errors) if rest else None
        dropped = found is not None and (errors is None or found <= errors)
        trace.append(Trial(each.name, found, errors, kept=not dropped))
        if dropped:
            members, weights, errors = rest, without, found
    return Soup(weights, tuple(each.name for each in members), errors, tuple(trace))
