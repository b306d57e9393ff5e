"""All that a recipe knows of the world."""

from typing import Any, Protocol, runtime_checkable

from soup.weights import Weights


@runtime_checkable
class Judge(Protocol):
    """Counts the held-out examples that weights get wrong, or any other cost that is to be small.

    It may stop as soon as the errors exceed `at_most`, and then answers None. With `at_most=None`
    it looks at every example. (`Any`, so that judges may ask for an integer or a float.)
    """

    def __call__(self, weights: Weights, at_most: Any = None) -> float | None: ...
