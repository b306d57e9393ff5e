"""Uniform soup: theta_S = 1/K sum_i theta_i over all K ingredients.

Wortsman et al., "Model soups", ICML 2022 (arXiv 2203.05482), section 2.
"""

from collections.abc import Sequence

import torch

from soup.ingredient import Ingredient, Soup, Trial
from soup.recipes.judge import Judge
from soup.recipes.ranking import ranked
from soup.weights import average


def uniform(
    ingredients: Sequence[Ingredient],
    judge: Judge | None = None,
    accumulate: torch.dtype = torch.float64,
) -> Soup:
    """Average all ingredients, in their held-out order so that the sum's rounding is fixed.

    Raises:
        ValueError: no ingredient was scored.
        Incompatible: names or shapes differ.
    """
    order = ranked(ingredients)
    weights = average([i.weights for i in order], accumulate=accumulate)
    errors = None if judge is None else judge(weights)
    trace = tuple(Trial(i.name, errors=None, at_most=None, kept=True) for i in order)
    return Soup(weights, tuple(i.name for i in order), errors, trace)
