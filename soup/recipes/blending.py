"""What several recipes share: merging block by block in float64, and searching a coefficient."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from soup.recipes.ingredient import Ingredient, Soup, Trial, Unusable, require_unique_names
from soup.recipes.judge import Judge
from soup.weights import Weights, tensorwise
from soup.weights.streaming_sum import raise_not_finite

# Numbers of a tensor that are converted to float64 at a time, to bound the memory needed.
BLOCK = 1 << 19
# The factors of the mean change from the base that a judge chooses from.
SCALES = tuple(quarter / 4 for quarter in range(1, 9))


def weights_of(ingredients: Sequence[Ingredient]) -> list[Weights]:
    """Return the weights of all ingredients, scored or not, in the given order.

    Raises:
        Unusable: there are no ingredients, or two have the same name.
    """
    if not ingredients:
        raise Unusable("no ingredients were given: nothing to cook")
    require_unique_names(ingredients)
    return [ingredient.weights for ingredient in ingredients]


def blockwise(
    function: Callable[[str, list[Tensor]], Tensor],
    models: Sequence[Weights],
    extra: Callable[[str], list[Tensor]] = lambda _: [],
) -> Weights:
    """Merge models by an elementwise function, in float64 and a block at a time.

    A tensor that is the same in all models, such as an infinite mask, is copied.

    Args:
        function: takes the name of a tensor and its block in each model, flat and in float64, and
            returns the merged block.
        models: of the same tensor names and shapes.
        extra: takes the name of a tensor and returns more tensors of its shape, such as masks,
            whose blocks are appended to those of the models.

    Returns:
        A dictionary if all models are dictionaries, else a mapping that computes each tensor when
        it is read; dtypes are those of the first model.

    Raises:
        Incompatible: names or shapes differ.
        NotFinite: a tensor holds NaN or infinite numbers (raised when it is computed).
    """

    def merged(name: str, tensors: list[Tensor]) -> Tensor:
        first, *others = tensors
        if all(other.dtype == first.dtype and torch.equal(other, first) for other in others):
            return first.clone()
        flat = [tensor.to(first.device).reshape(-1) for tensor in [*tensors, *extra(name)]]
        result = torch.empty(first.shape, dtype=first.dtype, device=first.device)
        for start in range(0, first.numel(), BLOCK):
            block = [tensor[start : start + BLOCK].double() for tensor in flat]
            result.view(-1)[start : start + BLOCK] = function(name, block)
        if not bool(result.isfinite().all()):
            raise_not_finite(name, first, models)
        return result

    return tensorwise(merged, models)


def mean(tensors: Sequence[Tensor]) -> Tensor:
    """Return the mean of tensors, summed in the given order."""
    return sum(tensors[1:], tensors[0]) / len(tensors)


def from_base(
    base: Weights, models: Sequence[Weights], share: float | Mapping[str, float]
) -> Weights:
    """Return (1 - share) * base + share * (mean of the models).

    Args:
        base, models: of the same tensor names and shapes.
        share: any number, or one for each floating-point tensor.

    Raises:
        Incompatible: names or shapes differ.
        NotFinite: a tensor holds NaN or infinite numbers (raised when it is computed).
    """

    def interpolated(name: str, block: list[Tensor]) -> Tensor:
        *tuned, base_block = block
        weight = share[name] if isinstance(share, Mapping) else share
        # Unlike base + share * (mean - base), lerp is exact at both ends and where they are equal.
        return torch.lerp(base_block, mean(tuned), weight)

    return blockwise(interpolated, [*models, base])


def soup_of_all(ingredients: Sequence[Ingredient], weights: Weights, judge: Judge | None) -> Soup:
    """Return a soup that keeps all ingredients; its errors are counted if there is a judge."""
    names = tuple(ingredient.name for ingredient in ingredients)
    trace = tuple(Trial(name, errors=None, at_most=None, kept=True) for name in names)
    return Soup(weights, names, None if judge is None else judge(weights), trace)


def search_coefficient(
    ingredients: Sequence[Ingredient],
    merge: Callable[[float], Weights],
    judge: Judge | None,
    label: str,
    given: float | None,
    default: float = 1,
    grid: Sequence[float] = SCALES,
) -> Soup:
    """Return a soup of all ingredients whose one coefficient is given or chosen on held-out data.

    Args:
        ingredients: all of them are kept.
        merge: takes the coefficient and returns the weights of the soup.
        judge: counts held-out errors; without it the coefficient is `given` or the default.
        label: the name of the coefficient in the trace, which holds a trial for each value tried.
        given: the coefficient, if it is not to be searched.
        default: the coefficient if there is neither `given` nor a judge.
        grid: the values to try; of values with equally few errors the last wins.
    """
    names = tuple(ingredient.name for ingredient in ingredients)
    fixed = default if given is None else given
    soup = Soup({}, names, errors=None, trace=())
    trials: list[Trial] = []
    best = 0
    for value in [fixed] if judge is None or given is not None else grid:
        weights, at_most = merge(value), soup.errors
        errors = None if judge is None else judge(weights, at_most)
        trials.append(Trial(f"{label} {value:g}", errors, at_most, kept=False))
        if at_most is None or (errors is not None and errors <= at_most):
            best, soup = len(trials) - 1, Soup(weights, names, errors, ())
    trials[best] = replace(trials[best], kept=True)
    return replace(soup, trace=tuple(trials))
