"""Fisher-weighted averaging: theta = sum_i F_i theta_i / sum_i F_i, number by number.

Matena and Raffel, "Merging models with Fisher-weighted averaging", NeurIPS 2022 (arXiv 2111.09832),
equation 3; F_i is the diagonal of the Fisher information at theta_i: the mean over examples of the
squared gradient of the log-likelihood.

What we decided: the floor, which the authors' code sets to 1e-6 whatever the scale, is a share of
the tensor's largest value, and holds for every model, so that numbers of which no model knows
anything are simply averaged; so are tensors without Fisher information (a BatchNorm's statistics).
Ingredients of a soup are measured on the same examples, so nothing is normalised between them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from soup.recipes.blending import Unusable, blockwise, mean, soup_of_all, weights_of
from soup.recipes.ingredient import Ingredient, Soup
from soup.recipes.judge import Judge
from soup.weights import Weights, specs


def fisher(
    ingredients: Sequence[Ingredient],
    fishers: Sequence[Weights],
    judge: Judge | None = None,
    floor: float = 1e-6,
) -> Soup:
    """Each number averaged by how much each model depends on it: for models of different data.

    Args:
        fishers: one for each ingredient, in their order: tensors of the same names and shapes.
        floor: the least Fisher value that counts, as a share of the tensor's largest.

    Raises:
        Unusable: no ingredients, two of one name, or Fisher information that does not fit them
            or is none (raised when the tensor is computed).
        Incompatible: names or shapes differ.
    """
    models = weights_of(ingredients)
    if found := misfits([each.name for each in ingredients], models, fishers):
        raise Unusable("the Fisher information does not fit:\n  " + "\n  ".join(found))
    if not 0 < floor <= 1:
        raise Unusable(f"floor is a share of the largest value, above 0 to 1, not {floor}")
    own = specs(models[0])
    # Who writes Fisher information may call a tied tensor by another of its names.
    known = {spec.tied: name for name, spec in own.items() if name in fishers[0]}

    def information(name: str) -> list[Tensor]:
        key = known.get(own[name].tied)
        if key is None:
            return []
        values = [
            positive(given[key], f"{each.name}'s Fisher information of {key}")
            for each, given in zip(ingredients, fishers, strict=True)
        ]
        largest = max((float(each.max()) for each in values if each.numel()), default=0.0) or 1.0
        return [(each / largest).clamp(min=floor) for each in values]

    def weighed(_: str, block: list[Tensor]) -> Tensor:
        thetas, values = block[: len(models)], block[len(models) :]
        if not values:
            return mean(thetas)
        pairs = zip(values, thetas, strict=True)
        return mean([value * theta for value, theta in pairs]) / mean(values)

    return soup_of_all(ingredients, blockwise(weighed, models, information), judge)


def positive(values: Tensor, name: str) -> Tensor:
    """The values; raises `Unusable` if one is negative or not finite."""
    wrong = int((~torch.isfinite(values) | (values < 0)).sum())
    if wrong:
        raise Unusable(
            f"{name} has {wrong} of {values.numel()} values negative, NaN or infinite; "
            "it is a mean of squared gradients: compute it anew"
        )
    return values


def misfits(
    names: Sequence[str], models: Sequence[Weights], fishers: Sequence[Weights]
) -> list[str]:
    """Every reason why the Fisher information cannot be that of the models."""
    if len(fishers) != len(models):
        return [f"it is given for {len(fishers)} of {len(models)} ingredients; give one for each"]
    wanted = specs(models[0])
    found = []
    for owner, each in zip(names, fishers, strict=True):
        given = specs(each)
        found += [f"{owner}'s has {n}, which no ingredient has" for n in given if n not in wanted]
        found += [f"{owner}'s has no {name}" for name in fishers[0] if name not in given]
        found += [
            f"{owner}'s {name} is {spec.shape}, and the tensor {wanted[name].shape}"
            for name, spec in given.items()
            if name in wanted and spec.shape != wanted[name].shape
        ]
    return found
