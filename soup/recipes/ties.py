"""TIES: trim small changes, elect a sign for each number, average the changes that have it.

Yadav et al., "TIES-merging: resolving interference when merging models", NeurIPS 2023 (arXiv
2306.01708), section 4, algorithm 1, with tau_i = theta_i - theta_base: of each tau_i only the
largest k % in size stay, the others are 0; gamma = sgn(sum_i tau_i);
theta = theta_base + s * mean of those tau_i whose sign is gamma.

As in the authors' code, the k % are chosen among all changes of a model, not in each tensor alone,
because some layers change more than others. Where the paper is silent: sizes are compared in
float32; changes as large as the smallest that stays, stay too; where the sum of the changes is 0,
no sign is elected and the number of the base stays.
"""

from collections.abc import Iterator, Sequence
from functools import cache

import torch
from torch import Tensor

from soup.recipes.blending import BLOCK, blockwise, search_coefficient, weights_of
from soup.recipes.ingredient import Ingredient, Soup, Unusable
from soup.recipes.judge import Judge
from soup.weights import Weights, specs
from soup.weights.kinds import averaged
from soup.weights.numbers import count, numbers


def ties(
    ingredients: Sequence[Ingredient],
    base: Weights,
    judge: Judge | None = None,
    density: float = 0.2,
    scale: float | None = None,
) -> Soup:
    """Average the large changes whose sign prevails: for models of different tasks.

    Args:
        ingredients: all of them are merged.
        base: the weights that all ingredients were fine-tuned from.
        judge: chooses the scale from `blending.SCALES` if none is given.
        density: k / 100, the share of the changes of each model that stay.
        scale: s; 1 if there is neither a scale nor a judge.

    Raises:
        Unusable: there are no ingredients, two have the same name, or `density` is not in (0, 1].
        Incompatible: names or shapes differ among the ingredients and the base.
    """
    models = weights_of(ingredients)
    if not 0 < density <= 1:
        raise Unusable(f"density is the share of changes to keep, above 0 to 1, not {density}")

    # Computed on the first call of `merged`, after `blockwise` has checked names and shapes.
    @cache
    def threshold(index: int) -> float:
        return smallest_kept_change(models[index], base, density)

    def merge(scale: float) -> Weights:
        def merged(_: str, block: list[Tensor]) -> Tensor:
            *tuned, base_block = block
            changes = [trim(tensor - base_block, threshold(i)) for i, tensor in enumerate(tuned)]
            votes = sum(changes[1:], changes[0])
            total, count = torch.zeros_like(base_block), torch.zeros_like(base_block)
            for change, tensor in zip(changes, tuned, strict=True):
                agrees = change.sign() == votes.sign()
                total += torch.where(agrees, tensor, 0.0)
                count += agrees
            # Compares the votes, not their sign: torch's sign of NaN is 0, which would hide the
            # NaN of a model that diverged.
            mean = torch.where(votes == 0, base_block, total / count)
            return torch.lerp(base_block, mean, scale)

        return blockwise(merged, [*models, base])

    return search_coefficient(ingredients, merge, judge, "scale", scale)


def trim(change: Tensor, threshold: float) -> Tensor:
    """Set changes smaller than the threshold to 0."""
    return torch.where(change.float().abs() < threshold, 0.0, change)


def smallest_kept_change(model: Weights, base: Weights, density: float) -> float:
    """Return the size (float32) of the smallest change of a model that stays.

    Positive floats sort like their bits read as integers. So a first pass over the model counts the
    upper halves of the bits, and a second the lower halves; no more than a block is in memory.
    """

    floats = {
        name: spec
        for name, spec in specs(model).items()
        if averaged(spec.dtype) and spec.tied == name
    }

    def sizes() -> Iterator[Tensor]:
        for name in floats:
            tensor = numbers(model[name])
            base_tensor = numbers(base[name]).to(tensor.device)
            for start in range(0, len(tensor), BLOCK):
                part = slice(start, start + BLOCK)
                change = tensor[part].double() - base_tensor[part].double()
                # inf - inf, of an infinite mask in both, is NaN but no change.
                yield change.nan_to_num(nan=0.0).float().abs().view(torch.int32)

    def nth_largest(halves: Iterator[Tensor], rank: int) -> tuple[int, int]:
        """Return the rank-th largest of numbers below 2^16, and its rank among equal numbers."""
        counts = torch.zeros(1 << 16, dtype=torch.int64)
        for half in halves:
            counts += torch.bincount(half, minlength=1 << 16).cpu()
        above = counts.flip(0).cumsum(0)
        larger = int((above < rank).sum())  # how many of the possible values are larger
        return (1 << 16) - 1 - larger, rank - int(above[larger - 1] if larger else 0)

    kept = round(density * sum(count(spec.shape, spec.dtype) for spec in floats.values()))
    upper, rank = nth_largest((size >> 16 for size in sizes()), max(kept, 1))
    lower, _ = nth_largest((size[size >> 16 == upper] & 0xFFFF for size in sizes()), rank)
    return float(torch.tensor((upper << 16) | lower, dtype=torch.int32).view(torch.float32))
