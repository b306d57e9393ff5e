"""Model Stock: per tensor theta = t * mean + (1 - t) * theta_base, t = K cos / (1 + (K - 1) cos).

Jang et al., "Model Stock: all we need is just a few fine-tuned models", ECCV 2024 (arXiv
2403.19522), equations 2 and 5; cos is that of the angle between two theta_i - theta_base.

Where the paper is silent: for K > 2 models cos is the mean over all pairs. A negative cos is set to
0, because a negative t would lead from the base away from the models. If a model did not change a
tensor, its cos with the other models is 0. For K = 1 there is no angle, and t = 1. Each tensor has
its own t.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from soup.recipes.blending import from_base, soup_of_all, weights_of
from soup.recipes.ingredient import Ingredient, Soup
from soup.recipes.judge import Judge
from soup.weights import Weights, gram


def stock(ingredients: Sequence[Ingredient], base: Weights, judge: Judge | None = None) -> Soup:
    """Move the mean towards the base where models disagree: for only two or three models.

    Args:
        ingredients: all of them are averaged.
        base: the weights that all ingredients were fine-tuned from.
        judge: counts the errors of the soup, if given.

    Raises:
        Unusable: there are no ingredients, or two have the same name.
        Incompatible: names or shapes differ among the ingredients and the base.
    """
    models = weights_of(ingredients)
    ratios = {name: ratio(products) for name, products in gram(models, base).items()}
    return soup_of_all(ingredients, from_base(base, models, ratios), judge)


def ratio(products: Tensor) -> float:
    """Return the interpolation ratio t of a tensor, between 0 and 1.

    Args:
        products: inner products of the changes theta_i - theta_base, shape (K, K).
    """
    count = len(products)
    if count == 1:
        return 1.0
    lengths = products.diagonal().sqrt()
    scale = torch.outer(lengths, lengths)
    cosines = torch.where(scale > 0, products / scale, 0.0)
    cosine = float(cosines.sum() - cosines.trace()) / (count * (count - 1))
    # Without rounding, a cosine of equal models just below 1 would move them towards the base.
    cosine = min(max(round(cosine, 12), 0.0), 1.0)
    return count * cosine / (1 + (count - 1) * cosine)
