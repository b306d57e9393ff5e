"""All that a recipe knows of the world."""

from typing import Protocol, runtime_checkable

from soup.weights import Weights


@runtime_checkable
class Judge(Protocol):
    """Counts the held-out examples that weights get wrong.

    It may stop as soon as the errors exceed `at_most`, and then answers None. With `at_most=None`
    it looks at every example.
    """

    def __call__(self, weights: Weights, at_most: int | None = None) -> int | None: ...
