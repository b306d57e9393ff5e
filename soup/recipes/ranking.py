"""The order in which ingredients are tried."""

import math
from collections.abc import Sequence

from soup.recipes.ingredient import Ingredient


def ranked(ingredients: Sequence[Ingredient]) -> list[Ingredient]:
    """By increasing held-out errors; equal ones keep the given order, unscored (NaN) ones go.

    Raises:
        ValueError: two ingredients have one name, or none was scored.
    """
    names = [i.name for i in ingredients]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two ingredients of the same name: {', '.join(twice)}")
    scored = [i for i in ingredients if not math.isnan(i.errors)]
    if not scored:
        raise ValueError(
            f"no ingredient with a held-out score among {len(ingredients)}: nothing to cook"
        )
    return sorted(scored, key=lambda i: i.errors)
