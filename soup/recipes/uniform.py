"""Uniform soup: theta_S = 1/K sum_i theta_i over all K ingredients.

Wortsman et al., "Model soups", ICML 2022 (arXiv 2203.05482), section 2.

Where the paper is silent: ingredients without a score are averaged too, for no score is asked for;
the sum runs in the given order, which fixes its rounding.
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
    """The mean of all: without data, and where all ingredients were fine-tuned alike.

    Raises:
        Unusable: no ingredients, or two of one name.
        Incompatible: names or shapes differ.
    """
    return soup_of_all(ingredients, average(weights_of(ingredients), accumulate=accumulate), judge)
