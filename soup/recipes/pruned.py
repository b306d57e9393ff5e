"""Pruned soup: start from all ingredients; drop each, worst first, without which errors don't rise.

Dansereau et al., "Model soups to increase inference without increasing compute time", 2023 (arXiv
2301.10092): S = all; for i = K..1, by decreasing held-out accuracy: if
acc(mean(S - theta_i)) >= acc(mean(S)) then S = S - theta_i.

Where the paper is silent: there is one pass, as in its code by default; the last remaining
ingredient stays; of ingredients with equal scores the last given is tried first; ingredients
without a score are left out.
"""

from collections.abc import Sequence

from soup.recipes.ingredient import Ingredient, Soup, Trial
from soup.recipes.judge import Judge, as_judged, foresee, to_beat
from soup.recipes.ranking import ranked
from soup.weights import average


def pruned(ingredients: Sequence[Ingredient], judge: Judge) -> Soup:
    """Average all, then drop models that do not help: where most ingredients are good.

    The trace holds a trial for each ingredient, worst first, with the errors of the soup without
    it.

    Args:
        ingredients: all that have a score.
        judge: counts the held-out errors of a mean.

    Raises:
        Unusable: no ingredient was scored, or two have the same name.
        Incompatible: names or shapes differ.
    """
    members = ranked(ingredients)
    weights = average([member.weights for member in members])
    foresee(judge, [member.name for member in members])
    errors = judge(weights)
    trace = []
    for candidate in reversed(members):
        rest = [member for member in members if member is not candidate]
        weights_without = average([member.weights for member in rest]) if rest else weights
        foresee(judge, [member.name for member in rest])
        at_most = to_beat(errors)
        errors_without = judge(weights_without, at_most) if rest else None
        cost = to_beat(errors_without)
        dropped = cost is not None and (at_most is None or cost <= at_most)
        trace.append(Trial(candidate.name, errors_without, at_most, kept=not dropped))
        if dropped:
            members, weights, errors = rest, weights_without, errors_without
    names = tuple(member.name for member in members)
    return Soup(as_judged(weights, judge), names, errors, tuple(trace))
