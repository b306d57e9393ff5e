"""Uniform soup: theta_S = 1/K sum_i theta_i over all K ingredients.

Wortsman et al., "Model soups", ICML 2022 (arXiv 2203.05482), section 2.

Where the paper is silent: ingredients without a score are averaged too, because no score is needed;
the sum runs in the given order, so that its rounding does not vary.

WSM: Tian et al., "WSM: decay-free learning rate schedule via checkpoint merging", ICLR 2026 (arXiv
2507.17634): checkpoints 0..n-1 of one run at a constant rate, oldest first, are weighted as if the
rate had decayed by a schedule s, from 1 to 0: d_i = s(i/n), c_{n-1} = d_{n-1}, c_i = d_i - d_{i+1},
c_0 = 1 - the rest. s = 1 - x gives equal weights; s = 1 - sqrt(x) gives the oldest most.

Our decision: which checkpoint is older is told by the numbers in the names (step200, step1000),
which must increase in the given order; other names are refused.
"""

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch

from soup.errors import some
from soup.recipes.blending import soup_of_all, weights_of
from soup.recipes.ingredient import Ingredient, Soup, Unusable
from soup.recipes.judge import Judge
from soup.weights import average

Schedule = Literal["linear", "sqrt"]


def uniform(
    ingredients: Sequence[Ingredient],
    judge: Judge | None = None,
    accumulate: torch.dtype = torch.float64,
    schedule: Schedule | None = None,
) -> Soup:
    """Average all models: without held-out data, and where all were fine-tuned alike.

    Args:
        ingredients: all of them are averaged.
        judge: counts the errors of the soup, if given.
        accumulate: the dtype of the sum.
        schedule: weights the checkpoints of one run, oldest first, by this decay (WSM): "linear" or
            "sqrt"; None weights all models alike.

    Raises:
        Unusable: there are no ingredients, two have the same name, or a schedule is given that is
            unknown, or whose names of ingredients do not say their order.
        Incompatible: names or shapes differ.
    """
    models, weights = weights_of(ingredients), None
    if schedule is not None:
        require_order([ingredient.name for ingredient in ingredients])
        weights = decay_weights(len(models), schedule)
    return soup_of_all(ingredients, average(models, weights, accumulate), judge)


def weighted(
    ingredients: Sequence[Ingredient],
    shares: Sequence[float],
    judge: Judge | None = None,
    accumulate: torch.dtype = torch.float64,
) -> Soup:
    """Average all models by given weights, one for each, which are divided by their sum.

    Raises:
        Unusable: there are no ingredients, or two have the same name.
        ValueError: there are not as many weights as models, or their sum is 0.
        Incompatible: names or shapes differ.
    """
    models = weights_of(ingredients)
    return soup_of_all(ingredients, average(models, shares, accumulate), judge)


def decay_weights(count: int, schedule: Schedule) -> list[float]:
    """Return the weight of each checkpoint of a run, oldest first; their sum is 1."""
    decays = {"linear": lambda x: 1 - x, "sqrt": lambda x: 1 - math.sqrt(x)}
    if schedule not in decays:
        raise Unusable(f"unknown schedule {schedule!r}; known: {', '.join(decays)}")
    left = [decays[schedule](index / count) for index in range(count)]
    rest = [earlier - later for earlier, later in pairwise([*left[1:], 0.0])]
    return [1 - math.fsum(rest), *rest]


def require_order(names: Sequence[str]) -> None:
    """Raise `Unusable` unless the numbers in the names increase."""
    steps = [[int(number) for number in re.findall(r"\d+", name)] for name in names]
    same_text = len({re.sub(r"\d+", "#", name) for name in names}) == 1
    if not same_text or any(a >= b for a, b in pairwise(steps)):
        raise Unusable(
            "a schedule weights the checkpoints of one run by age, oldest first, and these names "
            f"do not say the order: {some(names, 8)}; name each by its step (step200, step1000) "
            "and give them in that order"
        )
