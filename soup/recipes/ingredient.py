"""What goes into a soup, and what comes out."""

from collections.abc import Mapping
from dataclasses import dataclass

from soup.weights import Weights


@dataclass(frozen=True)
class Ingredient:
    """A fine-tuned model that may go into the soup.

    Attributes:
        name: how the trace calls it.
        weights: its tensors, in memory or a `Checkpoint`.
        errors: held-out examples it gets wrong; NaN if it was never scored.
    """

    name: str
    weights: Weights
    errors: float


@dataclass(frozen=True)
class Trial:
    """One line of a trace: a candidate, and what became of it.

    Attributes:
        name: the ingredient.
        errors: the soup's held-out errors with it; None when judging stopped early, past `at_most`.
        at_most: the most errors that the rule allowed; None for the first.
        kept: whether it stayed.
    """

    name: str
    errors: float | None
    at_most: float | None
    kept: bool


@dataclass(frozen=True)
class Soup:
    """A soup: its weights, who is in it, and how that came about.

    Attributes:
        weights: the average; lazy where the ingredients are and it was not needed in memory.
        kept: names of its ingredients, in the order of acceptance.
        errors: its held-out errors; None where the recipe asked no judge.
        trace: one trial a candidate, in the order tried.
        shares: of a learned soup, group of tensors -> ingredient -> its share.
    """

    weights: Weights
    kept: tuple[str, ...]
    errors: float | None
    trace: tuple[Trial, ...]
    shares: Mapping[str, Mapping[str, float]] | None = None
