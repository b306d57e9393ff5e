"""WiSE-FT: theta = (1 - a) theta_base + a theta_S, with theta_S the mean of the ingredients.

Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022 (arXiv 2109.01903), equation 1.

Where the paper is silent: the fine-tuned end is the uniform soup; a = 0.5 without a judge (the
paper's advice if there is no data of the shift); of values a with equally few errors the larger
wins, because the fine-tuned end was trained for the task. A judge on held-out data chooses a for
accuracy on that distribution, while the gain of this recipe is on other distributions.
"""

from collections.abc import Sequence

from soup.recipes.blending import from_base, search_coefficient, weights_of
from soup.recipes.ingredient import Ingredient, Soup
from soup.recipes.judge import Judge
from soup.weights import Weights

ALPHAS = tuple(tenth / 10 for tenth in range(11))


def interpolate(
    ingredients: Sequence[Ingredient],
    base: Weights,
    judge: Judge | None = None,
    alpha: float | None = None,
) -> Soup:
    """Move the uniform soup back towards the base: for robustness to distribution shift.

    Args:
        ingredients: all of them are averaged.
        base: the weights that all ingredients were fine-tuned from.
        judge: chooses alpha from `ALPHAS` if none is given.
        alpha: a, 0 for the base and 1 for the uniform soup; 0.5 without a judge.

    Raises:
        Unusable: there are no ingredients, or two have the same name.
        Incompatible: names or shapes differ among the ingredients and the base.
    """
    models = weights_of(ingredients)
    return search_coefficient(
        ingredients, lambda a: from_base(base, models, a), judge, "alpha", alpha, 0.5, ALPHAS
    )
