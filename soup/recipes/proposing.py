"""Choose what a search tries next by the mean of the models' held-out logits, without a pass.

The idea of RADIN (`soup.recipes.radin`), for the candidates of other recipes. The judge decides.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from soup.recipes.ingredient import Ingredient, Unusable


@runtime_checkable
class Predictions(Protocol):
    """Held-out logits of the ingredients, any mean of which is scored without a pass."""

    def cost(self, counts: Mapping[str, int]) -> float:
        """Return the errors (or another cost) of the mean of logits of these ingredients.

        Args:
            counts: how often each ingredient counts, by name.
        """
        ...


def proposed(
    pool: Sequence[Ingredient],
    members: Mapping[str, int],
    predictions: Predictions | None,
    most: int,
) -> list[int]:
    """Return the indices of the ingredients that are worth judging as the next addition.

    Args:
        pool: those that may be added.
        members: of the soup, with how often each counts.
        predictions: of all of them.
        most: how many to return, best first; 0 returns all, in the given order.

    Raises:
        Unusable: there are no predictions to choose by.
    """
    if most == 0:
        return [*range(len(pool))]
    if predictions is None or most < 0:
        raise Unusable(
            f"propose ({most}) is the number of additions that are judged, chosen by the kept "
            "held-out answers of all models: 0 or more, and 0 where there are none"
        )
    costs = [
        cost_of(predictions, {**members, one.name: members.get(one.name, 0) + 1}) for one in pool
    ]
    return sorted(range(len(pool)), key=costs.__getitem__)[:most]


def cost_of(predictions: Predictions, counts: Mapping[str, int]) -> float:
    """Return the cost of a mean of logits; infinite where it is NaN, which has no order."""
    cost = predictions.cost(counts)
    return math.inf if math.isnan(cost) else cost


def asks_for_predictions(recipe: str, options: Mapping[str, Any]) -> bool:
    """Whether a recipe with these options chooses by the logits of the ingredients."""
    by_answers = "answers" in (options.get("order"), options.get("start"))
    return recipe == "radin" or "propose" in options or by_answers
