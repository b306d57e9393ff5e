"""Model Stock: per tensor theta = t * mean + (1 - t) * theta_base, t = K cos / (1 + (K - 1) cos).

Jang et al., "Model Stock: all we need is just a few fine-tuned models", ECCV 2024 (arXiv
2403.19522), equations 2 and 5; cos is that of the angle between two theta_i - theta_base.

Where the paper is silent: of K > 2 models cos is the mean over the pairs; it is cut off at 0, below
which the rule would leave the base away from the models; a tensor that a model did not change is
perpendicular to the others'; K = 1 has no angle and t = 1. Each tensor has a t of its own.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from soup.recipes.blending import blockwise, mean, soup_of_all, weights_of
from soup.recipes.ingredient import Ingredient, Soup
from soup.recipes.judge import Judge
from soup.weights import Weights, gram


def stock(ingredients: Sequence[Ingredient], base: Weights, judge: Judge | None = None) -> Soup:
    """The mean drawn to the base, each tensor as far as the models disagree: for two or three.

    Raises:
        Unusable: no ingredients, or two of one name.
        Incompatible: names or shapes differ, the base's too.
    """
    models = weights_of(ingredients)
    ratios = {name: ratio(products) for name, products in gram(models, base).items()}

    def drawn(name: str, block: list[Tensor]) -> Tensor:
        *tuned, anchor = block
        return torch.lerp(anchor, mean(tuned), ratios[name])

    return soup_of_all(ingredients, blockwise(drawn, [*models, base]), judge)


def ratio(products: Tensor) -> float:
    """t of one tensor, between 0 and 1, from the (K, K) inner products of theta_i - theta_base."""
    count = len(products)
    if count == 1:
        return 1.0
    lengths = products.diagonal().sqrt()
    scale = torch.outer(lengths, lengths)
    cosines = torch.where(scale > 0, products / scale, 0.0)
    cosine = float(cosines.sum() - cosines.trace()) / (count * (count - 1))
    # Rounding must not draw equal models to the base.
    cosine = min(max(round(cosine, 12), 0.0), 1.0)
    return count * cosine / (1 + (count - 1) * cosine)
