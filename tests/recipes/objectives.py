"""What learned soups are tested on: an objective with a known optimum, and networks to mix."""

from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from soup.recipes.ingredient import Ingredient
from soup.recipes.learned import Gradients
from soup.weights import Weights
from tests.strategies import NAN

Model = dict[str, Tensor]


class Target:
    """Half the squared distance to given weights; what it is asked is written down.

    Attributes:
        asked: the epoch and the size of each call of `batches`.
        checked: the weights of each check.
    """

    device = torch.device("cpu")
    storage: Weights = MappingProxyType({})

    def __init__(self, target: Model, steps: int = 1, checks: Sequence[float | None] = ()) -> None:
        self.target, self.steps, self.checks = target, steps, list(checks)
        self.checked: list[Weights] = []
        self.asked: list[tuple[int, int | None]] = []

    def batches(self, epoch: int, size: int | None = None) -> Iterator[int]:
        self.asked.append((epoch, size))
        return iter(range(self.steps))

    def __call__(self, weights: Weights, beta: float, batch: Any) -> Gradients:
        gaps = {n: weights[n].double() - t.double() for n, t in self.target.items()}
        return Gradients(sum(float((g**2).sum()) / 2 for g in gaps.values()), gaps, 0.0)

    def check(self, weights: Weights, beta: float) -> float | None:
        self.checked.append({n: t.clone() for n, t in weights.items()})
        return self.checks.pop(0) if self.checks else None


def pool(models: Sequence[Weights]) -> list[Ingredient]:
    return [Ingredient(f"model {i}", model, NAN) for i, model in enumerate(models)]


def floats(model: Model) -> Model:
    return {name: torch.zeros(t.shape) for name, t in model.items() if t.is_floating_point()}


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def networks(count: int) -> tuple[list[Model], Tensor, Tensor]:
    torch.manual_seed(0)
    models = [dict(network().state_dict()) for _ in range(count)]
    return models, torch.randn(40, 4).double(), torch.randint(0, 3, (40,))
