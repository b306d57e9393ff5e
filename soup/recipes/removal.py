"""Greedy soup with removal: who came early may go again, once better company has come.

Wortsman et al., "Model soups", ICML 2022 (arXiv 2203.05482), Recipe 1, and after each acceptance
the backward steps of Pudil et al., "Floating search methods in feature selection", Pattern
Recognition Letters 15, 1994: while some member but the newcomer can go so that the soup gets
better, the one goes without whom it is best.

What we decided: a newcomer stays where the soup gets no worse, as in Recipe 1, but a member goes
only where it gets better, or one step would undo the other; of equals the earliest goes; who has
gone is not tried again.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from soup.recipes.greedy import bound, errors_of
from soup.recipes.ingredient import Ingredient, Soup, Trial
from soup.recipes.judge import Judge
from soup.recipes.ranking import ranked
from soup.weights import Weights, average


class Subset(NamedTuple):
    members: list[Ingredient]
    weights: Weights
    errors: float


def removal(ingredients: Sequence[Ingredient], judge: Judge) -> Soup:
    """Greedy that may take back: where the best single model makes a bad start.

    In the trace a second trial of a name is that of its removal: the soup's errors without it.

    Raises:
        ValueError: no ingredient was scored, or two have one name.
        Incompatible: names or shapes differ.
    """
    best, *rest = ranked(ingredients)
    bowl = Subset([best], average([best.weights]), errors_of(best))
    trace = [Trial(best.name, bowl.errors, at_most=None, kept=True)]
    for candidate in rest:
        members = [*bowl.members, candidate]
        weights = average([each.weights for each in members])
        found = judge(weights, bowl.errors)
        kept = found is not None and found <= bowl.errors
        trace.append(Trial(candidate.name, found, bowl.errors, kept))
        if found is None or not kept:
            continue
        bowl = Subset(members, weights, found)
        while (smaller := reduced(bowl, judge, trace)) is not None:
            bowl = smaller
    return Soup(bowl.weights, tuple(each.name for each in bowl.members), bowl.errors, tuple(trace))


def reduced(bowl: Subset, judge: Judge, trace: list[Trial]) -> Subset | None:
    """The best of the soups without one member, the last excepted, if better than with it.

    The trials are added to the trace.
    """
    smaller, gone = None, None
    for index, each in enumerate(bowl.members[:-1]):
        at_most = bound((smaller or bowl).errors, "reject")
        rest = bowl.members[:index] + bowl.members[index + 1 :]
        weights = average([other.weights for other in rest])
        found = judge(weights, at_most)
        trace.append(Trial(each.name, found, at_most, kept=True))
        if found is not None and found <= at_most:
            smaller, gone = Subset(rest, weights, found), len(trace) - 1
    if gone is not None:
        trace[gone] = replace(trace[gone], kept=False)
    return smaller
