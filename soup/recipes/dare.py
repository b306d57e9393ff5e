"""DARE: drop each change from the base with chance p, multiply those that stay by 1 / (1 - p).

Yu et al., "Language models are super Mario", ICML 2024 (arXiv 2311.03099), equation 1:
theta = theta_base + s * 1/K sum_i m_i tau_i / (1 - p), with m_i = 1 where a change stays, else 0.

What we decided: what is left is merged as in `task`, scale included. A mask depends on the seed and
on the names of the ingredient and of the tensor alone: not on the order, the dtype or the others.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from soup.recipes.blending import Unusable, blockwise, mean, search_coefficient, weights_of
from soup.recipes.ingredient import Ingredient, Soup
from soup.recipes.judge import Judge
from soup.recipes.task_arithmetic import SCALES
from soup.weights import Weights, specs


def dare(
    ingredients: Sequence[Ingredient],
    base: Weights,
    judge: Judge | None = None,
    drop: float = 0.9,
    scale: float | None = None,
    seed: int = 0,
) -> Soup:
    """Most changes dropped at random, the rest scaled up: for models of different tasks.

    Raises:
        Unusable: no ingredients, two of one name, or `drop` is not in [0, 1).
        Incompatible: names or shapes differ, the base's too.
    """
    models = weights_of(ingredients)
    if not 0 <= drop < 1:
        raise Unusable(f"drop is the share of changes to leave out, from 0 to below 1, not {drop}")

    def masks(name: str) -> list[Tensor]:
        shape = specs(models[0])[name].shape
        return [staying(f"{seed}/{each.name}/{name}", shape, drop) for each in ingredients]

    def cook(scale: float) -> Weights:
        def thinned(_: str, block: list[Tensor]) -> Tensor:
            tuned, anchor, kept = block[: len(models)], block[len(models)], block[-len(models) :]
            share = scale / (1 - drop)
            pairs = zip(tuned, kept, strict=True)
            return mean([torch.lerp(anchor, tensor, share * mask) for tensor, mask in pairs])

        return blockwise(thinned, [*models, base], masks)

    return search_coefficient(ingredients, cook, judge, "scale", scale, 1, SCALES)


def staying(key: str, shape: tuple[int, ...], drop: float) -> Tensor:
    """A mask, true with chance 1 - drop, the same for the same key on every device."""
    digest = hashlib.sha256(key.encode()).digest()
    source = torch.Generator().manual_seed(int.from_bytes(digest[:4]))
    return torch.rand(shape, generator=source, dtype=torch.float32) >= drop
