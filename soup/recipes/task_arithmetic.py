"""Task arithmetic: theta = theta_base + s * 1/K sum_i tau_i, with tau_i = theta_i - theta_base.

Ilharco et al., "Editing models with task arithmetic", ICLR 2023 (arXiv 2212.04089), section 2.

Our decisions: the paper scales the sum of the task vectors tau_i of different tasks by lambda. The
ingredients of a soup were trained on one task, so their mean is scaled here: s is K times the
paper's lambda. s = 1 is the uniform soup, s > 1 extrapolates beyond it, and s < 0 removes what the
models learned. As in the paper, held-out data choose the scale, if there is a judge.
"""

from collections.abc import Sequence

from soup.recipes.blending import from_base, search_coefficient, weights_of
from soup.recipes.ingredient import Ingredient, Soup
from soup.recipes.judge import Judge
from soup.weights import Weights


def task(
    ingredients: Sequence[Ingredient],
    base: Weights,
    judge: Judge | None = None,
    scale: float | None = None,
) -> Soup:
    """Scale the mean change from the base: to go beyond the uniform soup, or away from a task.

    Args:
        ingredients: all of them are averaged.
        base: the weights that all ingredients were fine-tuned from.
        judge: chooses the scale from `blending.SCALES` if none is given.
        scale: s; 1 if there is neither a scale nor a judge.

    Raises:
        Unusable: there are no ingredients, or two have the same name.
        Incompatible: names or shapes differ among the ingredients and the base.
    """
    models = weights_of(ingredients)
    return search_coefficient(
        ingredients, lambda s: from_base(base, models, s), judge, "scale", scale
    )
