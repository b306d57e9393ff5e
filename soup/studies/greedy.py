"""Recipe 1 of the paper over names alone, for soups whose answers are looked up."""

from collections.abc import Callable, Sequence


def greedy(order: Sequence[str], right: Callable[[Sequence[str]], int]) -> list[str]:
    """The names that a greedy soup keeps, in the order in which they were tried.

    Args:
        order: in which models are tried; the paper's is best first.
        right: names of models -> how many examples their mean classifies correctly. A model is kept
            if this does not fall.
    """
    kept: list[str] = []
    best = -1
    for name in order:
        count = right([*kept, name])
        if count >= best:
            kept.append(name)
            best = count
    return kept
