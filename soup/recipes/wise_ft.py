"""WiSE-FT: theta = (1 - a) theta_base + a theta_S, with theta_S the mean of the ingredients.

Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022 (arXiv 2109.01903), equation 1.

Where the paper is silent: the fine-tuned end is the uniform soup; a = 0.5 without a judge (the
paper's advice if there is no data of the shift); of values a with equally few errors the larger
wins, because the fine-tuned end was trained for the task. A judge on held-out data chooses a for
accuracy on that distribution, while the gain of this recipe is on other distributions.

LiNeS: Wang et al., "LiNeS: post-training layer scaling prevents forgetting and enhances model
merging", ICLR 2025 (arXiv 2410.17146): theta = theta_base + lambda_l tau in block l of L, with
lambda_l = a + b l / (L - 1). Here a is alpha, and a + b is `deep`, the factor of the last block;
with deep = 1 (the paper's choice for a single model) the last block stays as it is.
"""

from collections.abc import Mapping, Sequence

from soup.recipes.blending import from_base, search_coefficient, weights_of
from soup.recipes.depth import depths
from soup.recipes.ingredient import Ingredient, Soup
from soup.recipes.judge import Judge
from soup.weights import Weights, specs

ALPHAS = tuple(tenth / 10 for tenth in range(11))


def interpolate(
    ingredients: Sequence[Ingredient],
    base: Weights,
    judge: Judge | None = None,
    alpha: float | None = None,
    deep: float | None = None,
    depth: Mapping[str, float] | None = None,
) -> Soup:
    """Move the uniform soup back towards the base: for robustness to distribution shift.

    Args:
        ingredients: all of them are averaged.
        base: the weights that all ingredients were fine-tuned from.
        judge: chooses alpha from `ALPHAS` if none is given.
        alpha: a, 0 for the base and 1 for the uniform soup; 0.5 without a judge.
        deep: the factor of the last block, and alpha that of the first (LiNeS); alpha for all
            blocks if None.
        depth: of each tensor, from 0 (first block) to 1 (last); by `depths` if None.

    Raises:
        Unusable: there are no ingredients, two have the same name, or `deep` is given and the
            names of tensors hold no numbers of blocks.
        Incompatible: names or shapes differ among the ingredients and the base.
    """
    models = weights_of(ingredients)
    if deep is None:
        return search_coefficient(
            ingredients, lambda a: from_base(base, models, a), judge, "alpha", alpha, 0.5, ALPHAS
        )
    far = deep
    names = dict.fromkeys(name for model in [*models, base] for name in specs(model))
    place = depths(names) if depth is None else depth

    def scaled(first: float) -> Weights:
        # Unlike first + l * (far - first), exact at both ends.
        factors = {name: (1 - at) * first + at * far for name, at in place.items()}
        return from_base(base, models, factors)

    return search_coefficient(ingredients, scaled, judge, "alpha", alpha, 0.5, ALPHAS)
