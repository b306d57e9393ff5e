"""What Hypothesis draws: weights of one architecture, and problems whose errors really are counted.

Sizes, dtypes and scores are drawn, so that they shrink; the numbers of a problem come from a seeded
generator, for drawn numbers are too often equal to tell good weights from bad.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from soup.recipes.ingredient import Ingredient
from soup.weights import Weights
from tests.reference import Candidate

FLOATS = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
BUFFERS = [torch.int64, torch.uint8, torch.bool]
SHAPES = [(), (0,), (1,), (3,), (2, 2), (0, 2)]
NAN = math.nan

numbers = st.floats(-60000, 60000, width=16)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def alike(draw: st.DrawFn, least: int = 1, most: int = 4) -> list[dict[str, Tensor]]:
    """Several weights of the same names, shapes and dtypes: floats, counters, ties, empty, 0-d.

    Integers differ only where they may: alone in their tensor.
    """
    kinds = st.tuples(st.sampled_from(FLOATS + BUFFERS), st.sampled_from(SHAPES))
    layout = draw(st.lists(kinds, min_size=1, max_size=4))
    tie = draw(st.booleans())
    models = []
    for _ in range(draw(st.integers(least, most))):
        weights = {}
        for index, (dtype, shape) in enumerate(layout):
            size = math.prod(shape)
            elements = numbers if dtype in FLOATS else st.integers(0, 200)
            values = draw(st.lists(elements, min_size=size, max_size=size))
            if models and (dtype == torch.bool or (dtype in BUFFERS and shape not in ((), (1,)))):
                values = models[0][f"layer{index}"].flatten().tolist()
            weights[f"layer{index}"] = torch.tensor(values, dtype=dtype).view(shape)
        if tie:
            weights["tied"] = weights["layer0"]
        models.append(weights)
    return models


@dataclass(frozen=True)
class Problem:
    """A linear classifier to soup: held-out examples, and ingredients scored on them.

    Attributes:
        inputs: float64 (examples, features).
        labels: (examples,).
        ingredients: "weight" (classes, features), "bias" (classes,), and a counter of steps; their
            errors are those that `wrong` counts, or NaN.
    """

    inputs: np.ndarray
    labels: np.ndarray
    ingredients: Sequence[Ingredient] = ()

    def wrong(self, weights: Weights) -> np.ndarray:
        weight, bias = (weights[name].double().numpy() for name in ("weight", "bias"))
        return (self.inputs @ weight.T + bias).argmax(axis=1) != self.labels

    def accuracy(self, weights: Weights) -> float:
        return 1 - int(self.wrong(weights).sum()) / len(self.labels)

    def candidates(self) -> list[Candidate]:
        """The ingredients as the reference wants them."""
        n = len(self.labels)
        return [Candidate(i.name, dict(i.weights), 1 - i.errors / n) for i in self.ingredients]


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Problems with ties in score, unscored ingredients, and now and then a lone ingredient."""
    rng = np.random.default_rng(draw(seeds))
    examples, features, classes = draw(st.integers(1, 24)), draw(st.integers(1, 4)), 3
    dtype = draw(st.sampled_from(FLOATS))
    inputs = rng.integers(-3, 4, (examples, features)).astype(np.float64)
    teacher = rng.normal(size=(classes, features))
    labels = (inputs @ teacher.T).argmax(axis=1)
    noise = draw(st.sampled_from([0.3, 1.0, 2.0]))
    scored = draw(st.lists(st.sampled_from([True, True, True, False]), min_size=1, max_size=7))
    scored[draw(st.integers(0, len(scored) - 1))] = True
    problem = Problem(inputs, labels)
    ingredients = []
    for index, has_score in enumerate(scored):
        weights = {
            "weight": torch.tensor(teacher + noise * rng.normal(size=teacher.shape), dtype=dtype),
            "bias": torch.tensor(noise * rng.normal(size=classes), dtype=dtype),
            "steps": torch.tensor(10 * index + 10),
        }
        errors = float(problem.wrong(weights).sum()) if has_score else NAN
        ingredients.append(Ingredient(f"model {index}", weights, errors))
    return replace(problem, ingredients=ingredients)


@st.composite
def pools(draw: st.DrawFn) -> list[Ingredient]:
    """Ingredients with any scores, at least one of them a number; their weights are alike."""
    models = draw(alike(most=6))
    some = st.sampled_from([NAN, 0.0, 1.0, 2.0, 3.0, math.inf])
    errors = [draw(some) for _ in models]
    errors[draw(st.integers(0, len(errors) - 1))] = draw(st.sampled_from([0.0, 1.0, 2.0]))
    return [
        Ingredient(f"model {i}", weights, e)
        for i, (weights, e) in enumerate(zip(models, errors, strict=True))
    ]


def one(*values: float, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    return {"w": torch.tensor(values, dtype=dtype)}
