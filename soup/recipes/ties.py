"""TIES: trim small changes, elect a sign for each number, average the changes that have it.

Yadav et al., "TIES-merging: resolving interference when merging models", NeurIPS 2023 (arXiv
2306.01708), section 4, algorithm 1, with tau_i = theta_i - theta_base: of each tau_i only the
largest k % in size stay, the others are 0; gamma = sgn(sum_i tau_i);
theta = theta_base + s * mean of those tau_i whose sign is gamma.

As in the authors' code, the k % are of a model's whole change, not of each tensor's: what matters
is where a model changed most, and that is not the same share of each layer. Where the paper is
silent: sizes are compared in float32, and equals of the last that stays, stay; where the sum is 0
no sign is elected, and the base's number stays.
"""

import math
from collections.abc import Iterator, Sequence
from functools import cache

import torch
from torch import Tensor

from soup.recipes.blending import BLOCK, Unusable, blockwise, search_coefficient, weights_of
from soup.recipes.ingredient import Ingredient, Soup
from soup.recipes.judge import Judge
from soup.recipes.task_arithmetic import SCALES
from soup.weights import Weights, specs


def ties(
    ingredients: Sequence[Ingredient],
    base: Weights,
    judge: Judge | None = None,
    density: float = 0.2,
    scale: float | None = None,
) -> Soup:
    """The large changes on whose sign most agree, averaged: for models of different tasks.

    Args:
        density: the share of each model's changes that stay.

    Raises:
        Unusable: no ingredients, two of one name, or `density` is not in (0, 1].
        Incompatible: names or shapes differ, the base's too.
    """
    models = weights_of(ingredients)
    if not 0 < density <= 1:
        raise Unusable(f"density is the share of changes to keep, above 0 to 1, not {density}")

    # Asked for by `merged`, which runs once names and shapes are known to fit.
    @cache
    def least(index: int) -> float:
        return quantile(models[index], base, density)

    def cook(scale: float) -> Weights:
        def merged(_: str, block: list[Tensor]) -> Tensor:
            *tuned, anchor = block
            changes = [trimmed(each - anchor, least(i)) for i, each in enumerate(tuned)]
            votes = sum(changes[1:], changes[0])
            total, count = torch.zeros_like(anchor), torch.zeros_like(anchor)
            for change, each in zip(changes, tuned, strict=True):
                agrees = change.sign() == votes.sign()
                total += torch.where(agrees, each, 0.0)
                count += agrees
            # Asked of the votes, for torch's sign of NaN is 0: what diverged must not be lost.
            mean = torch.where(votes == 0, anchor, total / count)
            return torch.lerp(anchor, mean, scale)

        return blockwise(merged, [*models, base])

    return search_coefficient(ingredients, cook, judge, "scale", scale, 1, SCALES)


def trimmed(change: Tensor, least: float) -> Tensor:
    return torch.where(change.float().abs() < least, 0.0, change)


def quantile(model: Weights, base: Weights, density: float) -> float:
    """The size of the smallest change that stays, of all of a model's; float32.

    The bits of positive floats are ordered as they are: two passes count first their upper, then
    their lower halves, so that no more than a tensor is held.
    """

    floats = {
        name: spec
        for name, spec in specs(model).items()
        if spec.dtype.is_floating_point and spec.tied == name
    }

    def sizes() -> Iterator[Tensor]:
        for name in floats:
            tensor = model[name].reshape(-1)
            anchor = base[name].reshape(-1).to(tensor.device)
            for at in range(0, len(tensor), BLOCK):
                change = tensor[at : at + BLOCK].double() - anchor[at : at + BLOCK].double()
                # An infinite mask that base and model share has not changed.
                yield change.nan_to_num(nan=0.0).float().abs().view(torch.int32)

    def nth_largest(halves: Iterator[Tensor], rank: int) -> tuple[int, int]:
        """The rank-th largest of numbers below 2^16, and its rank among its equals."""
        counts = torch.zeros(1 << 16, dtype=torch.int64)
        for half in halves:
            counts += torch.bincount(half, minlength=1 << 16).cpu()
        above = counts.flip(0).cumsum(0)
        place = int((above < rank).sum())
        return (1 << 16) - 1 - place, rank - int(above[place - 1] if place else 0)

    kept = round(density * sum(math.prod(spec.shape) for spec in floats.values()))
    upper, rank = nth_largest((size >> 16 for size in sizes()), max(kept, 1))
    lower, _ = nth_largest((size[size >> 16 == upper] & 0xFFFF for size in sizes()), rank)
    return float(torch.tensor((upper << 16) | lower, dtype=torch.int32).view(torch.float32))
