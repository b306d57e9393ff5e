"""Greedy soup with removal: after each addition, earlier members may be removed again.

Wortsman et al., "Model soups", ICML 2022 (arXiv 2203.05482), Recipe 1, and after each acceptance
the backward steps of Pudil et al., "Floating search methods in feature selection", Pattern
Recognition Letters 15, 1994: while removing a member other than the newest makes the soup better,
remove the member without which the soup is best.

Our decisions: an ingredient is added if the soup does not become worse, as in Recipe 1, but a
member is removed only if the soup becomes better, because otherwise one step could undo the other;
of equally good removals the earliest member goes; a removed member is not tried again.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from soup.recipes.greedy import most_errors, recorded_errors
from soup.recipes.ingredient import Ingredient, Soup, Trial
from soup.recipes.judge import Judge, as_judged, foresee
from soup.recipes.ranking import ranked
from soup.weights import Weights, average


class Subset(NamedTuple):
    """Some of the ingredients, their mean and its held-out errors."""

    members: list[Ingredient]
    weights: Weights
    errors: float


def removal(ingredients: Sequence[Ingredient], judge: Judge) -> Soup:
    """Greedy that may remove models again: where the best single model makes a bad start.

    A second trial of a name in the trace is that of its removal, with the errors of the soup
    without it.

    Args:
        ingredients: candidates, in any order.
        judge: counts the held-out errors of a mean.

    Raises:
        Unusable: no ingredient was scored, or two have the same name.
        Incompatible: names or shapes differ.
    """
    best, *rest = ranked(ingredients)
    single = soup = Subset([best], average([best.weights]), recorded_errors(best))
    trace = [Trial(best.name, soup.errors, at_most=None, kept=True)]
    for candidate in rest:
        members = [*soup.members, candidate]
        weights = average([member.weights for member in members])
        foresee(judge, [member.name for member in members])
        errors_with = judge(weights, soup.errors)
        kept = errors_with is not None and errors_with <= soup.errors
        trace.append(Trial(candidate.name, errors_with, soup.errors, kept))
        if errors_with is None or not kept:
            continue
        soup = Subset(members, weights, errors_with)
        while (smaller := remove_one(soup, judge, trace)) is not None:
            soup = smaller
    names = tuple(member.name for member in soup.members)
    weights = soup.weights if soup is single else as_judged(soup.weights, judge)
    return Soup(weights, names, soup.errors, tuple(trace))


def remove_one(soup: Subset, judge: Judge, trace: list[Trial]) -> Subset | None:
    """Return the best soup without one of its members other than the last.

    Trials are appended to the trace.

    Returns:
        The smaller soup, or None if none has fewer errors than `soup`.
    """
    best, removed = None, None
    for index, member in enumerate(soup.members[:-1]):
        at_most = most_errors((best or soup).errors, "reject")
        rest = soup.members[:index] + soup.members[index + 1 :]
        weights = average([ingredient.weights for ingredient in rest])
        foresee(judge, [ingredient.name for ingredient in rest])
        errors_without = judge(weights, at_most)
        trace.append(Trial(member.name, errors_without, at_most, kept=True))
        if errors_without is not None and errors_without <= at_most:
            best, removed = Subset(rest, weights, errors_without), len(trace) - 1
    if removed is not None:
        trace[removed] = replace(trace[removed], kept=False)
    return best
