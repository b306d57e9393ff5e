"""The inputs of a recipe (`Ingredient`) and its result (`Soup`, with a `Trial` a candidate)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from soup.errors import BadInput
from soup.weights import Weights


class Unusable(BadInput, ValueError):
    """A recipe cannot use its arguments; the message says what it needs."""


@dataclass(frozen=True)
class Ingredient:
    """A fine-tuned model that may go into the soup.

    Attributes:
        name: identifies it in the trace; unique among the ingredients of a soup.
        weights: its tensors: a dictionary, or a `Checkpoint` over a file.
        errors: number of held-out examples that it classifies wrongly (or another cost to
            minimise); NaN if it was never scored.
    """

    name: str
    weights: Weights = field(repr=False)  # thousands of lines of numbers
    errors: float


@dataclass(frozen=True)
class Trial:
    """One line of a trace: a candidate and the decision about it.

    Attributes:
        name: of the ingredient that was tried.
        errors: held-out errors of the soup with it; None if the judge stopped early, because the
            errors exceeded `at_most`.
        at_most: the most errors with which the recipe accepts it; None if any are.
        kept: whether it was accepted.
    """

    name: str
    errors: float | None
    at_most: float | None
    kept: bool


@dataclass(frozen=True)
class Soup:
    """The result of a recipe.

    Attributes:
        weights: the merged tensors: a dictionary, or lazy weights, computed on access, if the
            ingredients are lazy.
        kept: names of the ingredients in the soup, in the order of acceptance.
        errors: held-out errors of the soup; None if no judge counted them.
        trace: one trial for each candidate, in the order tried.
        shares: of a learned soup, for each group of tensors the share of each ingredient by name.
    """

    weights: Weights = field(repr=False)
    kept: tuple[str, ...]
    errors: float | None
    trace: tuple[Trial, ...] = field(repr=False)
    shares: Mapping[str, Mapping[str, float]] | None = field(default=None, repr=False)


def require_unique_names(ingredients: Sequence[Ingredient]) -> None:
    """Raise `Unusable` if two ingredients have the same name."""
    names = [ingredient.name for ingredient in ingredients]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Unusable(
            f"two ingredients of the same name: {', '.join(twice)}; give each a name of its own"
        )
