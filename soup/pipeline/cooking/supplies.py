"""What recipes need beside ingredients, and whether a sweep has it, known before it runs."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from soup.config.params import Params
from soup.config.recipe import Recipe
from soup.config.recipe_signatures import signature
from soup.errors import BadInput
from soup.recipes import RECIPES
from soup.recipes.ingredient import Ingredient, Soup
from soup.recipes.learned import Gradients
from soup.recipes.proposing import asks_for_predictions
from soup.weights import Weights

# Names of parameters -> what the pipeline gives for them.
SUPPLIES = {
    "judge": "counts held-out errors, or another score, of a candidate",
    "base": "the weights that the fine-tunes started from",
    "objective": "the held-out cross-entropy with gradients",
    "fishers": "the Fisher information of each ingredient, on held-out",
    "predictions": "held-out logits of the ingredients, any mean of which is scored without a pass",
}
PROBE = "probe"
FEW = 6  # models in a rehearsal: with many, some recipes take seconds


def starts_from_base(recipe: Recipe) -> bool:
    """Whether a recipe is given the base, which is then no ingredient as well."""
    return "base" in signature(recipe.name).needs


def call(
    recipe: Recipe, ingredients: list[Ingredient], supplies: Mapping[str, Callable[[], Any]]
) -> Soup:
    """Cook by a recipe with its options.

    Args:
        supplies: for each of `SUPPLIES` what makes it, called if the recipe takes it.
    """
    known, needs = signature(recipe.name), []
    for need in known.needs:
        # The logits of many models are large, and most recipes that take them go without.
        wanted = need != "predictions" or asks_for_predictions(recipe.name, recipe.options)
        if need in supplies and wanted:
            needs.append(need)
    arguments = {need: supplies[need]() for need in needs}
    return RECIPES[recipe.name](ingredients, **arguments, **recipe.options)


def require(params: Params) -> None:
    """Check that the sweep has what the recipes of the parameters need.

    Each recipe is rehearsed on models of a few numbers, so that what it says of its options and of
    the number of models is said now.

    Raises:
        BadInput: a recipe lacks something, or refuses its options; all that is wrong is listed.
    """
    recipes = params.soup.recipes
    problems = [
        f"{_where(params, recipe)}: {reason}"
        for recipe in recipes
        for reason in _lacks(params, recipe)
    ]
    if problems:
        raise BadInput("\n".join(problems))


def _where(params: Params, recipe: Recipe) -> str:
    chosen = recipe.label == params.soup.recipe.label
    return f"{'soup.recipe' if chosen else 'soup.compare'}: {recipe.label}"


def _lacks(params: Params, recipe: Recipe) -> Iterable[str]:
    known = signature(recipe.name)
    for name in known.required:
        if name in known.options and name not in recipe.options:
            yield f"needs its option {name}"
        elif name in known.needs and name not in SUPPLIES:
            yield f"needs {name}, which the pipeline does not have; use the library (soup.RECIPES)"
    names = candidates(params, recipe)
    if not names:
        yield "has no candidate: it starts from the probe, and there is no fine-tune"
    try:
        rehearse(params.soup.with_tie(recipe), names[-FEW:])
    except BadInput:
        try:  # its message may tell the number of models
            rehearse(params.soup.with_tie(recipe), names)
        except BadInput as error:
            yield str(error)


def candidates(params: Params, recipe: Recipe) -> list[str]:
    """Names of the candidates that the sweep will have if no run fails."""
    sweep = params.sweep
    each = 1 + len(sweep.ema) + (sweep.swa is not None)
    probe = params.soup.include_probe and not starts_from_base(recipe)
    return [f"{run}" for run in range(sweep.runs * each)] + [PROBE] * probe


def rehearse(recipe: Recipe, names: list[str]) -> Soup:
    """Cook by a recipe from models of a few numbers.

    Raises:
        BadInput: the recipe refuses its options, or so many models.
    """
    rng = torch.Generator().manual_seed(0)

    def model() -> Weights:
        layers = ("blocks.0.weight", "blocks.1.weight", "head.weight")
        return {layer: torch.randn(4, 3, generator=rng) for layer in layers}

    ingredients = [Ingredient(name, model(), 0) for name in names]
    return call(
        recipe,
        ingredients,
        {
            "judge": _WorseAndWorse,
            "base": model,
            "objective": _Objective,
            "fishers": lambda: [{n: t.square() for n, t in model().items()} for _ in names],
            "predictions": _NoneBetter,
        },
    )


class _WorseAndWorse:
    """A judge by whom no candidate is better than one before, so that every search ends soon."""

    def __init__(self) -> None:
        self._errors = 0

    def __call__(self, _weights: Weights, at_most: float | None = None) -> float | None:
        self._errors += 1
        return None if at_most is not None and self._errors > at_most else self._errors


class _NoneBetter:
    """Predictions by which all soups are alike."""

    def cost(self, _counts: Mapping[str, int]) -> float:
        return 0.0

    def best_mean(self, names: Sequence[str], _batches: Sequence[Any]) -> tuple[Tensor, float]:
        return torch.zeros(len(names)), 1.0


class _Objective:
    """The squared length of the weights."""

    device = torch.device("cpu")
    storage: Weights = MappingProxyType({})

    def batches(self, epoch: int, _size: int | None = None) -> Iterable[Any]:
        return [epoch]

    def __call__(self, weights: Weights, beta: float, _batch: Any) -> Gradients:
        slopes = {name: 2 * weights[name] for name in weights}
        return Gradients(self.check(weights, beta), slopes, 0.0)

    def check(self, weights: Weights, _beta: float) -> float:
        return math.fsum(float(weights[name].square().sum()) for name in weights)
