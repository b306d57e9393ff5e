"""What recipes have in common: who goes in, what goes for every sum, one number for the judge."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from soup.errors import BadInput
from soup.recipes.ingredient import Ingredient, Soup, Trial
from soup.recipes.judge import Judge
from soup.weights import Weights, tensorwise
from soup.weights.streaming_sum import raise_not_finite

# Of a tensor, so that no more than this much of each model is held in float64.
BLOCK = 1 << 19


class Unusable(BadInput, ValueError):
    """A recipe was given what it cannot cook; the message says what it needs."""


def weights_of(ingredients: Sequence[Ingredient]) -> list[Weights]:
    """The weights of all ingredients, scored or not, in the given order.

    Raises:
        Unusable: there are none, or two have one name.
    """
    names = [each.name for each in ingredients]
    if not names:
        raise Unusable("no ingredients were given: nothing to cook")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Unusable(
            f"two ingredients of the same name: {', '.join(twice)}; give each a name of its own"
        )
    return [each.weights for each in ingredients]


def blockwise(
    function: Callable[[str, list[Tensor]], Tensor],
    models: Sequence[Weights],
    also: Callable[[str], list[Tensor]] = lambda _: [],
) -> Weights:
    """Each number by a function of it in each model, in float64 and a block at a time.

    What all models agree on stays as it is, be it an infinite mask.

    Args:
        function: of the tensor's name and a block of it, flat, in each model.
        also: tensors of the same shape, of which the function gets the blocks as well.

    Raises:
        Incompatible: names or shapes differ.
        NotFinite: a tensor holds NaN or infinite numbers (raised when it is computed).
    """

    def blended(name: str, tensors: list[Tensor]) -> Tensor:
        first = tensors[0]
        if all(each.dtype == first.dtype and torch.equal(each, first) for each in tensors[1:]):
            return first.clone()
        flat = [tensor.to(first.device).reshape(-1) for tensor in [*tensors, *also(name)]]
        result = torch.empty(first.shape, dtype=first.dtype, device=first.device)
        for at in range(0, first.numel(), BLOCK):
            block = [tensor[at : at + BLOCK].double() for tensor in flat]
            result.view(-1)[at : at + BLOCK] = function(name, block)
        if not bool(result.isfinite().all()):
            raise_not_finite(name, first, models)
        return result

    return tensorwise(blended, models)


def mean(tensors: Sequence[Tensor]) -> Tensor:
    """Summed in the given order."""
    return sum(tensors[1:], tensors[0]) / len(tensors)


def soup_of_all(ingredients: Sequence[Ingredient], weights: Weights, judge: Judge | None) -> Soup:
    """A soup of all ingredients, judged in full if there is a judge."""
    names = tuple(each.name for each in ingredients)
    trace = tuple(Trial(name, errors=None, at_most=None, kept=True) for name in names)
    return Soup(weights, names, None if judge is None else judge(weights), trace)


def search_coefficient(
    ingredients: Sequence[Ingredient],
    cook: Callable[[float], Weights],
    judge: Judge | None,
    label: str,
    given: float | None,
    default: float,
    grid: Sequence[float],
) -> Soup:
    """A soup of all ingredients with one free number, which the judge chooses if none is given.

    It tries those of the grid in turn and takes the best, of equals the last; without a judge the
    default is taken. The trace holds a trial for each number, called by the label and the number.
    """
    names = tuple(each.name for each in ingredients)
    fixed = default if given is None else given
    soup = Soup({}, names, errors=None, trace=())
    trials: list[Trial] = []
    best = 0
    for value in [fixed] if judge is None or given is not None else grid:
        weights, at_most = cook(value), soup.errors
        errors = None if judge is None else judge(weights, at_most)
        trials.append(Trial(f"{label} {value:g}", errors, at_most, kept=False))
        if at_most is None or (errors is not None and errors <= at_most):
            best, soup = len(trials) - 1, Soup(weights, names, errors, ())
    trials[best] = replace(trials[best], kept=True)
    return replace(soup, trace=tuple(trials))
