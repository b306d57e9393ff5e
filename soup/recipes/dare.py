"""DARE: drop each change from the base with probability p, and divide the others by 1 - p.

Yu et al., "Language models are super Mario", ICML 2024 (arXiv 2311.03099), equation 1:
theta = theta_base + s * 1/K sum_i m_i tau_i / (1 - p), with tau_i = theta_i - theta_base and m_i a
random mask, 0 with probability p and else 1.

Our decisions: the remaining changes are merged as in `task`, scale s included. A mask depends only
on the seed and on the names of the ingredient and the tensor, not on the order of the ingredients
or on the dtype.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from soup.recipes.blending import blockwise, mean, search_coefficient, weights_of
from soup.recipes.ingredient import Ingredient, Soup, Unusable
from soup.recipes.judge import Judge
from soup.weights import Weights, specs


def dare(
    ingredients: Sequence[Ingredient],
    base: Weights,
    judge: Judge | None = None,
    drop: float = 0.9,
    scale: float | None = None,
    seed: int = 0,
) -> Soup:
    """Drop most changes at random and scale up the rest: for models of different tasks.

    Args:
        ingredients: all of them are merged.
        base: the weights that all ingredients were fine-tuned from.
        judge: chooses the scale from `blending.SCALES` if none is given.
        drop: p, the probability to drop a change.
        scale: s; 1 if there is neither a scale nor a judge.
        seed: of the masks.

    Raises:
        Unusable: there are no ingredients, two have the same name, or `drop` is not in [0, 1).
        Incompatible: names or shapes differ among the ingredients and the base.
    """
    models = weights_of(ingredients)
    if not 0 <= drop < 1:
        raise Unusable(f"drop is the share of changes to leave out, from 0 to below 1, not {drop}")

    def masks(name: str) -> list[Tensor]:
        shape = specs(models[0])[name].shape
        return [keep_mask(f"{seed}/{i.name}/{name}", shape, drop) for i in ingredients]

    def merge(scale: float) -> Weights:
        def merged(_: str, block: list[Tensor]) -> Tensor:
            count, share = len(models), scale / (1 - drop)
            base_block, pairs = block[count], zip(block[:count], block[-count:], strict=True)
            return mean([torch.lerp(base_block, tensor, share * mask) for tensor, mask in pairs])

        return blockwise(merged, [*models, base], masks)

    return search_coefficient(ingredients, merge, judge, "scale", scale)


def keep_mask(key: str, shape: tuple[int, ...], drop: float) -> Tensor:
    """Return a mask, true with probability 1 - drop; the same key gives the same mask anywhere."""
    digest = hashlib.sha256(key.encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:4]))
    return torch.rand(shape, generator=generator, dtype=torch.float32) >= drop
