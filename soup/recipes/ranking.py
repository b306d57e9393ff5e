"""The order in which recipes try ingredients."""

import math
from collections.abc import Sequence

from soup.recipes.ingredient import Ingredient, Unusable, require_unique_names


def ranked(ingredients: Sequence[Ingredient]) -> list[Ingredient]:
    """Sort ingredients by increasing held-out errors.

    Ingredients with equal errors keep the given order; those without a score (NaN) are left out.

    Raises:
        Unusable: two ingredients have the same name, or none was scored.
    """
    require_unique_names(ingredients)
    scored = [ingredient for ingredient in ingredients if not math.isnan(ingredient.errors)]
    if not scored:
        raise Unusable(
            f"no ingredient with a held-out score among {len(ingredients)}: nothing to cook"
        )
    return sorted(scored, key=lambda ingredient: ingredient.errors)
