"""Greedy soup with repetition: add the ingredient that helps most at each step, repeats allowed.

Caruana et al., "Ensemble selection from libraries of models", ICML 2004, sections 2 and 2.1, with
the average of predictions replaced by that of weights: S = {best}; repeat: i = argmin_i
errors(mean(S + theta_i)) over all i, members too; S = S + theta_i. A model that is in the soup
twice has twice the weight.

Our decisions: the search stops as soon as no addition makes the soup strictly better (the paper
takes a fixed number of steps, then the best of all soups on the way); it starts from the best
single model; of equally good additions that of the better single model wins. With `propose`, only
the additions of which the mean of logits is best are judged at each step (see `proposing`).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from soup.recipes.greedy import most_errors
from soup.recipes.ingredient import Ingredient, Soup, Trial
from soup.recipes.judge import Judge, as_judged, foresee, to_beat
from soup.recipes.proposing import Predictions, proposed
from soup.recipes.ranking import ranked
from soup.weights import Weights, average


def repetition(
    ingredients: Sequence[Ingredient],
    judge: Judge,
    steps: int = 50,
    propose: int = 0,
    predictions: Predictions | None = None,
) -> Soup:
    """Add the best model at each step, repeats too: the closest search, K judgements a step.

    `kept` and the trace name a repeated ingredient as often as it was added.

    Args:
        ingredients: candidates, in any order.
        judge: counts the held-out errors of a mean.
        steps: the most additions.
        propose: how many additions are judged at each step, those of the best mean of logits; 0 for
            all.
        predictions: of the ingredients, which `propose` needs.

    Raises:
        Unusable: no ingredient was scored, two have the same name, or there is nothing to propose
            by.
        Incompatible: names or shapes differ.
    """
    candidates = ranked(ingredients)
    members = [0]  # indices of candidates
    weights = average_of(candidates, members)
    foresee(judge, [candidates[0].name])
    errors = judge(weights)
    trace = [Trial(candidates[0].name, errors, at_most=None, kept=True)]
    for _ in range(steps):
        added = None
        counts = Counter(candidates[index].name for index in members)
        for index in proposed(candidates, counts, predictions, propose):
            candidate = candidates[index]
            fewest = to_beat(errors)
            at_most = None if fewest is None else most_errors(fewest, "reject")
            weights_with = average_of(candidates, [*members, index])
            foresee(judge, [candidates[number].name for number in [*members, index]])
            errors_with = judge(weights_with, at_most)
            trace.append(Trial(candidate.name, errors_with, at_most, kept=False))
            cost = to_beat(errors_with)
            if cost is not None and (at_most is None or cost <= at_most):
                added, weights, errors = (index, len(trace) - 1), weights_with, cost
        if added is None:
            break
        index, trial = added
        members.append(index)
        trace[trial] = replace(trace[trial], kept=True)
    names = tuple(candidates[index].name for index in members)
    return Soup(as_judged(weights, judge), names, errors, tuple(trace))


def average_of(candidates: Sequence[Ingredient], members: Sequence[int]) -> Weights:
    """Return the mean of the candidates with these indices; a repeated one is read only once."""
    counts = Counter(members)
    return average([candidates[index].weights for index in counts], list(counts.values()))
