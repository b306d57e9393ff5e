"""Fisher-weighted averaging: theta = sum_i F_i theta_i / sum_i F_i, elementwise.

Matena and Raffel, "Merging models with Fisher-weighted averaging", NeurIPS 2022 (arXiv 2111.09832),
equation 3; F_i is the diagonal of the Fisher information at theta_i: the mean over examples of the
squared gradient of the log-likelihood.

Our decisions: F_i has a lower bound, without which a parameter with F_i = 0 in all models would be
divided by zero. The authors' code sets it to 1e-6 whatever the scale of F_i; here it is a share of
the largest value in the tensor. Tensors without Fisher information (a BatchNorm's statistics) are
averaged with equal weights. F_i is not normalised between ingredients, because those of a soup are
measured on the same examples.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from soup.recipes.blending import blockwise, mean, soup_of_all, weights_of
from soup.recipes.ingredient import Ingredient, Soup, Unusable
from soup.recipes.judge import Judge
from soup.weights import Weights, specs


def fisher(
    ingredients: Sequence[Ingredient],
    fishers: Sequence[Weights],
    judge: Judge | None = None,
    floor: float = 1e-6,
) -> Soup:
    """Average weighted by each number's Fisher information: for models of different data.

    Args:
        ingredients: all of them are merged.
        fishers: for each ingredient, in their order, the F_i: tensors of the same names and shapes.
        judge: counts the errors of the soup, if given.
        floor: lower bound of F_i, as a share of the largest value in the tensor.

    Raises:
        Unusable: there are no ingredients, two have the same name, the tensors of the Fisher
            information do not match theirs, or it holds negative or infinite numbers (raised when
            the tensor is computed).
        Incompatible: names or shapes differ.
    """
    models = weights_of(ingredients)
    names = [ingredient.name for ingredient in ingredients]
    if reasons := mismatches(names, models, fishers):
        raise Unusable("the Fisher information does not fit:\n  " + "\n  ".join(reasons))
    if not 0 < floor <= 1:
        raise Unusable(f"floor is a share of the largest value, above 0 to 1, not {floor}")
    tensors = specs(models[0])
    # The Fisher information may list a tied tensor under another of its names.
    key_of = {spec.tied: name for name, spec in tensors.items() if name in fishers[0]}

    def information(name: str) -> list[Tensor]:
        key = key_of.get(tensors[name].tied)
        if key is None:
            return []
        values = [
            require_nonnegative(fisher_of[key], f"{owner}'s Fisher information of {key}")
            for owner, fisher_of in zip(names, fishers, strict=True)
        ]
        largest = max((float(value.max()) for value in values if value.numel()), default=0.0) or 1.0
        return [(value / largest).clamp(min=floor) for value in values]

    def weighted(_: str, block: list[Tensor]) -> Tensor:
        thetas, values = block[: len(models)], block[len(models) :]
        if not values:
            return mean(thetas)
        pairs = zip(values, thetas, strict=True)
        return mean([value * theta for value, theta in pairs]) / mean(values)

    return soup_of_all(ingredients, blockwise(weighted, models, information), judge)


def require_nonnegative(values: Tensor, name: str) -> Tensor:
    """Return the values, or raise `Unusable` if one of them is negative, NaN or infinite."""
    invalid = int((~torch.isfinite(values) | (values < 0)).sum())
    if invalid:
        raise Unusable(
            f"{name} has {invalid} of {values.numel()} values negative, NaN or infinite; "
            "it is a mean of squared gradients: compute it anew"
        )
    return values


def mismatches(
    names: Sequence[str], models: Sequence[Weights], fishers: Sequence[Weights]
) -> list[str]:
    """Return every reason why the Fisher information cannot be that of the models."""
    if len(fishers) != len(models):
        return [f"it is given for {len(fishers)} of {len(models)} ingredients; give one for each"]
    expected = specs(models[0])
    reasons = []
    for owner, fisher_of in zip(names, fishers, strict=True):
        given = specs(fisher_of)
        unknown = [name for name in given if name not in expected]
        reasons += [f"{owner}'s has {name}, which no ingredient has" for name in unknown]
        reasons += [f"{owner}'s has no {name}" for name in fishers[0] if name not in given]
        reasons += [
            f"{owner}'s {name} is {spec.shape}, and the tensor {expected[name].shape}"
            for name, spec in given.items()
            if name in expected and spec.shape != expected[name].shape
        ]
    return reasons
