"""What recipes are tested on: fine-tunes of one base, and judges that count or measure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from soup.recipes.ingredient import Ingredient
from soup.recipes.judge import Judge
from soup.weights import Weights, average
from tests.strategies import FLOATS, NAN, Problem, seeds

Model = dict[str, Tensor]


@dataclass(frozen=True)
class Family:
    """A base, and models that are some way from it; names, shapes, dtypes and ties are the same."""

    base: Model
    models: list[Model]

    @property
    def ingredients(self) -> list[Ingredient]:
        return named(self.models)


def named(models: Sequence[Weights]) -> list[Ingredient]:
    return [Ingredient(f"model {i}", model, NAN) for i, model in enumerate(models)]


@st.composite
def families(draw: st.DrawFn, least: int = 1, most: int = 4) -> Family:
    """Also with numbers and whole tensors that no fine-tune moved, counters, ties, 0-d, empty."""
    rng = np.random.default_rng(draw(seeds))
    shapes = st.sampled_from([(), (0,), (1,), (7,), (3, 5)])
    layout = [((4, 3), draw(st.sampled_from(FLOATS)))]
    layout += draw(st.lists(st.tuples(shapes, st.sampled_from(FLOATS)), max_size=3))
    moved = draw(st.lists(st.sampled_from([0.0, 0.3, 0.8, 1.0]), min_size=4, max_size=4))
    tied = draw(st.booleans())

    def complete(tensors: dict[str, np.ndarray], steps: int) -> Model:
        model = {
            name: torch.tensor(values).to(dtype)
            for (name, values), (_, dtype) in zip(tensors.items(), layout, strict=True)
        }
        if tied:
            model["tied"] = model["layer0"]
        return model | {"steps": torch.tensor(steps), "mask": torch.tensor([True, False])}

    start = {f"layer{i}": np.asarray(rng.normal(size=shape)) for i, (shape, _) in enumerate(layout)}
    models = []
    for index in range(draw(st.integers(least, most))):
        changed = {
            name: values + rng.normal(size=values.shape) * (rng.random(values.shape) < share)
            for (name, values), share in zip(start.items(), moved, strict=False)
        }
        models.append(complete(changed, steps=10 * index + 10))
    return Family(complete(start, steps=0), models)


def same(a: Weights, b: Weights) -> bool:
    """Equal to the last bit, dtypes included."""
    return a.keys() == b.keys() and all(
        torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a
    )


def assert_close(found: Weights, expected: Weights) -> None:
    """Equal but for the rounding of float64 sums, which may turn the last bit of what is stored."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        limit = {torch.float64: 1e-10, torch.float32: 2e-7}.get(tensor.dtype)
        if tensor.is_floating_point() and limit:
            torch.testing.assert_close(found[name], tensor, rtol=limit, atol=limit)
        else:
            torch.testing.assert_close(found[name], tensor)


class OfAverages:
    """Predictions of a linear world: the mean of logits errs as the mean of weights does."""

    def __init__(self, ingredients: Sequence[Ingredient], judge: Judge) -> None:
        self._weights = {i.name: i.weights for i in ingredients}
        self._judge = judge
        self.asked: list[Mapping[str, int]] = []

    def cost(self, counts: Mapping[str, int]) -> float:
        self.asked.append(dict(counts))
        weights = average([self._weights[name] for name in counts], [*counts.values()])
        errors = self._judge(weights)
        assert errors is not None
        return errors


def patient(problem: Problem) -> Judge:
    """Looks at every example, whatever the rule allows."""

    def judge(weights: Weights, at_most: float | None = None) -> int:
        return int(problem.wrong(weights).sum())

    return judge


def hasty(problem: Problem) -> Judge:
    """Stops at the very example that goes beyond what the rule allows."""

    def judge(weights: Weights, at_most: float | None = None) -> int | None:
        errors = int(problem.wrong(weights).sum())
        return None if at_most is not None and errors > at_most else errors

    return judge


def away_from(target: float) -> Judge:
    """A loss: how far the number "w" is from a target; None as soon as that is too far."""

    def judge(weights: Weights, at_most: float | None = None) -> float | None:
        loss = abs(float(weights["w"]) - target)
        return None if at_most is not None and loss > at_most else loss

    return judge


def scalars(values: Sequence[float], target: float = math.nan) -> list[Ingredient]:
    """Models of one number "w", called a, b, c ..., scored by their distance to a target."""
    return [
        Ingredient(chr(ord("a") + i), {"w": torch.tensor(value)}, abs(value - target))
        for i, value in enumerate(values)
    ]
