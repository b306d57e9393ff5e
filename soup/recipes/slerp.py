"""SLERP: per tensor theta = (sin((1 - t) w) u + sin(t w) v) / sin w, with w the angle from u to v.

Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985; u and v are the two tensors,
or their changes from the base, to which the result is then added.

What we decided: the lengths are those of u and v, not 1, so t = 0 and t = 1 are the two models; of
an angle of less than 1e-4, or so little short of 180 degrees, the line is taken: for small angles
the two differ by w^2 / 8 of the value, less than float32 resolves, and opposite ends have no one
arc between them; so too if a tensor has length 0.
"""

import math
from collections.abc import Sequence

from torch import Tensor

from soup.recipes.blending import Unusable, blockwise, soup_of_all, weights_of
from soup.recipes.ingredient import Ingredient, Soup
from soup.recipes.judge import Judge
from soup.weights import Weights, gram

NARROW = 1e-4


def slerp(
    ingredients: Sequence[Ingredient],
    base: Weights | None = None,
    judge: Judge | None = None,
    t: float = 0.5,
) -> Soup:
    """Two models along the arc between them, which keeps the length that a mean loses.

    Args:
        base: where the arc's centre is; the origin if None.
        t: 0 is the first model, 1 the second.

    Raises:
        Unusable: other than two ingredients, or both of one name.
        Incompatible: names or shapes differ, the base's too.
    """
    models = weights_of(ingredients)
    if len(models) != 2:
        raise Unusable(f"slerp is an arc between two models, and {len(models)} were given")
    shares = {name: parts(products, t) for name, products in gram(models, base).items()}

    def arc(name: str, block: list[Tensor]) -> Tensor:
        start, end, *centre = block
        first, second = shares[name]
        # In terms of the models, not of their changes, so that both ends are exact.
        mixed = first * start + second * end
        return mixed + (1 - first - second) * centre[0] if centre else mixed

    return soup_of_all(
        ingredients, blockwise(arc, models if base is None else [*models, base]), judge
    )


def parts(products: Tensor, t: float) -> tuple[float, float]:
    """Of u and of v, from their inner products (2, 2)."""
    lengths = math.sqrt(products[0, 0] * products[1, 1])
    cosine = float(products[0, 1]) / lengths if lengths else 1.0
    angle = math.acos(max(-1.0, min(1.0, cosine)))
    sine = math.sin(angle)
    if sine < NARROW:
        return 1 - t, t
    return math.sin((1 - t) * angle) / sine, math.sin(t * angle) / sine
