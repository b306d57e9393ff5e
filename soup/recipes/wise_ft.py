"""WiSE-FT: theta = (1 - a) theta_base + a theta_S, with theta_S the mean of the ingredients.

Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022 (arXiv 2109.01903), equation 1.

Where the paper is silent: the fine-tuned end is the uniform soup; a = 0.5 where there is no judge
(the paper's advice without data of the shift); of equal a the larger, for the fine-tuned end knows
the task. A judge on held-out data chooses for that data: the gain of this recipe is under shift.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from soup.recipes.blending import blockwise, mean, search_coefficient, weights_of
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
    """The uniform soup drawn back towards the base: for robustness to shift; the judge finds alpha.

    Raises:
        Unusable: no ingredients, or two of one name.
        Incompatible: names or shapes differ, the base's too.
    """
    models = weights_of(ingredients)
    return search_coefficient(
        ingredients, lambda a: between(models, base, a), judge, "alpha", alpha, 0.5, ALPHAS
    )


def curve(
    ingredients: Sequence[Ingredient],
    base: Weights,
    judge: Judge,
    alphas: Sequence[float] = ALPHAS,
) -> list[tuple[float, float | None]]:
    """The WiSE-FT curve: each alpha with what the judge counts there, in full."""
    models = weights_of(ingredients)
    return [(alpha, judge(between(models, base, alpha))) for alpha in alphas]


def between(models: Sequence[Weights], base: Weights, share: float) -> Weights:
    """(1 - share) * base + share * (mean of the models); beyond them for shares above 1."""

    def step(_: str, block: list[Tensor]) -> Tensor:
        *tuned, anchor = block
        # Exact at both ends and where they agree, which base + share * (mean - base) is not.
        return torch.lerp(anchor, mean(tuned), share)

    return blockwise(step, [*models, base])
