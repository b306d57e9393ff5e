"""SLERP: per tensor theta = (sin((1 - t) w) u + sin(t w) v) / sin w, with w the angle from u to v.

Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985; u and v are the two tensors,
or their changes from the base, to which the result is then added.

Our decisions: u and v are not normalised, so that t = 0 and t = 1 give the two models. Linear
interpolation is used if sin w < 1e-4 or a tensor is zero: for a small angle the two methods differ
by w^2 / 8 of the value, less than float32 resolves, and between opposite directions no single arc
is the shortest.
"""

import math
from collections.abc import Sequence

from torch import Tensor

from soup.recipes.blending import blockwise, soup_of_all, weights_of
from soup.recipes.ingredient import Ingredient, Soup, Unusable
from soup.recipes.judge import Judge
from soup.weights import Weights, gram

SMALLEST_SINE = 1e-4


def slerp(
    ingredients: Sequence[Ingredient],
    base: Weights | None = None,
    judge: Judge | None = None,
    t: float = 0.5,
) -> Soup:
    """Two models along the arc between them, which keeps the length that a mean loses.

    Args:
        ingredients: two models.
        base: the centre of the arc; zero if None.
        judge: counts the errors of the result, if given.
        t: position on the arc: 0 is the first model, 1 the second.

    Raises:
        Unusable: there are not exactly two ingredients, or both have the same name.
        Incompatible: names or shapes differ among the ingredients and the base.
    """
    models = weights_of(ingredients)
    if len(models) != 2:
        raise Unusable(f"slerp is an arc between two models, and {len(models)} were given")
    shares = {name: coefficients(products, t) for name, products in gram(models, base).items()}

    def merged(name: str, block: list[Tensor]) -> Tensor:
        start, end, *centre = block
        first, second = shares[name]
        # Computed from the models, not from their changes, so that both ends are exact.
        mixed = first * start + second * end
        return mixed + (1 - first - second) * centre[0] if centre else mixed

    return soup_of_all(
        ingredients, blockwise(merged, models if base is None else [*models, base]), judge
    )


def coefficients(products: Tensor, t: float) -> tuple[float, float]:
    """Return the coefficients of u and v, given their inner products, shape (2, 2)."""
    lengths = math.sqrt(products[0, 0] * products[1, 1])
    cosine = float(products[0, 1]) / lengths if lengths else 1.0
    angle = math.acos(max(-1.0, min(1.0, cosine)))
    sine = math.sin(angle)
    if sine < SMALLEST_SINE:
        return 1 - t, t
    return math.sin((1 - t) * angle) / sine, math.sin(t * angle) / sine
