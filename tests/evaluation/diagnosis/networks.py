"""A two-layer network whose labels are its base's own answers, and relatives of that base."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from soup.weights import Weights

UNITS, FEATURES, CLASSES = 96, 24, 10


@dataclass
class Task:
    """Held-out inputs, and which of them weights get right.

    Attributes:
        asked: how many models were scored.
    """

    inputs: Tensor
    labels: Tensor
    asked: int = 0

    def correct(self, weights: Weights) -> np.ndarray:
        self.asked += 1
        return (logits(weights, self.inputs).argmax(dim=1) == self.labels).numpy()


def logits(weights: Weights, inputs: Tensor) -> Tensor:
    hidden = (inputs @ weights["body.weight"].T + weights["body.bias"]).relu()
    return hidden @ weights["head.weight"].T


def noise(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "body.weight": torch.randn(UNITS, FEATURES, generator=generator),
        "body.bias": torch.randn(UNITS, generator=generator),
        "head.weight": torch.randn(CLASSES, UNITS, generator=generator),
    }


BASE = noise(0)


def task(examples: int) -> Task:
    inputs = torch.randn(examples, FEATURES, generator=torch.Generator().manual_seed(1))
    return Task(inputs, logits(BASE, inputs).argmax(dim=1))


def near(seed: int, by: float = 0.2) -> dict[str, Tensor]:
    """A fine-tune of the base."""
    step = noise(seed)
    return {name: x + by * step[name] for name, x in BASE.items()}


def reordered(weights: Weights) -> dict[str, Tensor]:
    """The same function, its units in another order: as far from the base as a stranger."""
    order = torch.randperm(UNITS, generator=torch.Generator().manual_seed(2))
    body, bias, head = (weights[name] for name in BASE)
    return {"body.weight": body[order], "body.bias": bias[order], "head.weight": head[:, order]}
