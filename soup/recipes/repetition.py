"""Greedy soup with repetition: add whoever helps most, again and again.

Caruana et al., "Ensemble selection from libraries of models", ICML 2004, sections 2 and 2.1, with
the average of predictions replaced by that of weights: S = {best}; repeat: i = argmin_i
errors(mean(S + theta_i)) over all i, members too; S = S + theta_i. A model that is in the soup
twice has twice the weight.

What we decided: it stops as soon as no addition makes the soup strictly better (the paper takes a
fixed number of steps, then the best of all soups on the way); it starts from the best single model;
of equal additions the better ranked wins.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from soup.recipes.greedy import bound
from soup.recipes.ingredient import Ingredient, Soup, Trial
from soup.recipes.judge import Judge
from soup.recipes.ranking import ranked
from soup.weights import Weights, average


def repetition(ingredients: Sequence[Ingredient], judge: Judge, steps: int = 50) -> Soup:
    """The best addition of all at each step, repeats too: the closest search, K judgements a step.

    `kept` and the trace name a repeated ingredient as often as it was added.

    Args:
        steps: the most additions.

    Raises:
        ValueError: no ingredient was scored, or two have one name.
        Incompatible: names or shapes differ.
    """
    order = ranked(ingredients)
    members = [0]
    weights = mix(order, members)
    errors = judge(weights)
    trace = [Trial(order[0].name, errors, at_most=None, kept=True)]
    for _ in range(steps):
        added = None
        for place, candidate in enumerate(order):
            at_most = None if errors is None else bound(errors, "reject")
            larger = mix(order, [*members, place])
            found = judge(larger, at_most)
            trace.append(Trial(candidate.name, found, at_most, kept=False))
            if found is not None and (at_most is None or found <= at_most):
                added, weights, errors = (place, len(trace) - 1), larger, found
        if added is None:
            break
        members.append(added[0])
        trace[added[1]] = replace(trace[added[1]], kept=True)
    return Soup(weights, tuple(order[place].name for place in members), errors, tuple(trace))


def mix(order: Sequence[Ingredient], places: Sequence[int]) -> Weights:
    """The mean of those at these places; who stands there twice is read once, and counts twice."""
    counts = Counter(places)
    return average([order[place].weights for place in counts], list(counts.values()))
