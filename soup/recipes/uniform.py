"""Uniform soup: theta_S = 1/K sum_i theta_i over all K ingredients.

Wortsman et al., "Model soups", ICML 2022 (arXiv 2203.05482), section 2.

Where the paper is silent: ingredients without a score are averaged too, because no score is needed;
the sum runs in the given order, so that its rounding does not vary.
"""

from collections.abc import Sequence

import torch

from soup.recipes.blending import soup_of_all, weights_of
from soup.recipes.ingredient import Ingredient, Soup
from soup.recipes.judge import Judge
from soup.weights import average


def uniform(
    ingredients: Sequence[Ingredient],
    judge: Judge | None = None,
    accumulate: torch.dtype = torch.float64,
) -> Soup:
    """Average all models: without held-out data, and where all were fine-tuned alike.

    Args:
        ingredients: all of them are averaged.
        judge: counts the errors of the soup, if given.
        accumulate: the dtype of the sum.

    Raises:
        Unusable: there are no ingredients, or two have the same name.
        Incompatible: names or shapes differ.
    """
    return soup_of_all(ingredients, average(weights_of(ingredients), accumulate=accumulate), judge)
