"""Task arithmetic: theta = theta_base + s * 1/K sum_i tau_i, with tau_i = theta_i - theta_base.

Ilharco et al., "Editing models with task arithmetic", ICLR 2023 (arXiv 2212.04089), section 2.

What we decided: the paper scales the sum of task vectors of different tasks; ingredients of a soup
learned one task, so the mean is scaled: s is K times the paper's lambda, s = 1 is the uniform soup,
s > 1 goes on beyond it, s < 0 unlearns. The paper chooses on held-out data, and so does a judge.
"""

from collections.abc import Sequence

from soup.recipes.blending import search_coefficient, weights_of
from soup.recipes.ingredient import Ingredient, Soup
from soup.recipes.judge import Judge
from soup.recipes.wise_ft import between
from soup.weights import Weights

SCALES = tuple(quarter / 4 for quarter in range(1, 9))


def task(
    ingredients: Sequence[Ingredient],
    base: Weights,
    judge: Judge | None = None,
    scale: float | None = None,
) -> Soup:
    """The mean change from the base, scaled: to go beyond the uniform soup, or away from a task.

    Raises:
        Unusable: no ingredients, or two of one name.
        Incompatible: names or shapes differ, the base's too.
    """
    models = weights_of(ingredients)
    return search_coefficient(
        ingredients, lambda s: between(models, base, s), judge, "scale", scale, 1, SCALES
    )
