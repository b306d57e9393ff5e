"""What several recipes share: merging block by block in float64, and searching a coefficient."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from soup.recipes.ingredient import Ingredient, Soup, Trial, Unusable, require_unique_names
from soup.recipes.judge import Judge, as_judged, to_beat
from soup.weights import Weights
from soup.weights.merged import Merged, materialize_if_eager
from soup.weights.numbers import fitted, numbers
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

    A tensor that is the same in all models is copied, and so is an infinity at the same place in
    all models. A complex number is two numbers of a block.

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
    return materialize_if_eager(_Blockwise(function, models, extra), models)


class _Blockwise(Merged):
    def __init__(
        self,
        function: Callable[[str, list[Tensor]], Tensor],
        models: Sequence[Weights],
        extra: Callable[[str], list[Tensor]],
    ) -> None:
        super().__init__(models)
        self._function, self._extra = function, extra

    def _numbers(self, name: str, dtype: torch.dtype) -> Tensor:
        first, *others = tensors = [numbers(model[name]) for model in self._models]
        same = all(other.dtype == first.dtype and torch.equal(other, first) for other in others)
        if same:
            tensors, more = [first], list[Tensor]()
        else:
            parts = 2 if self.specs[name].dtype.is_complex else 1  # numbers for each of `extra`
            more = [tensor.reshape(-1).repeat_interleave(parts) for tensor in self._extra(name)]
        flat = [tensor.to(first.device) for tensor in [*tensors, *more]]
        result = torch.empty(first.shape, dtype=dtype, device=first.device)
        for start in range(0, len(first), BLOCK):
            block = [tensor[start : start + BLOCK].double() for tensor in flat]
            read = partial(iter, block[: len(tensors)])
            values = block[0] if same else self._function(name, block)
            merged, fits = fitted(values, dtype, read)
            if not fits:
                raise_not_finite(name, self._models, dtype)
            result[start : start + BLOCK] = merged
        return result


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
    if judge is None:
        return Soup(weights, names, None, trace)
    errors = judge(weights)
    return Soup(as_judged(weights, judge), names, errors, trace)


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
        grid: the values to try; of values with equally few errors the last wins, and one whose
            cost is NaN loses to any other.
    """
    names = tuple(ingredient.name for ingredient in ingredients)
    fixed = default if given is None else given
    soup = Soup({}, names, errors=None, trace=())
    trials: list[Trial] = []
    best = 0
    for value in [fixed] if judge is None or given is not None else grid:
        weights, at_most = merge(value), to_beat(soup.errors)
        errors = None if judge is None else judge(weights, at_most)
        trials.append(Trial(f"{label} {value:g}", errors, at_most, kept=False))
        if at_most is None or (errors is not None and errors <= at_most):
            best, soup = len(trials) - 1, Soup(weights, names, errors, ())
    trials[best] = replace(trials[best], kept=True)
    weights = soup.weights if judge is None else as_judged(soup.weights, judge)
    return replace(soup, weights=weights, trace=tuple(trials))
