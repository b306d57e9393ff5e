"""The Fisher information of each tensor, under each of its names."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import soup
from soup.evaluation.evaluator import Evaluator
from soup.recipes.fisher import fisher
from soup.recipes.ingredient import Ingredient
from soup.weights import Checkpoint


class Tied(nn.Module):
    """A classifier whose first layer, by whichever of its names, has the weights of its head."""

    def __init__(self, first: str, last: str) -> None:
        super().__init__()
        for name in (first, last, "norm"):
            layer = nn.BatchNorm1d(2) if name == "norm" else nn.Linear(2, 2, bias=False)
            self.add_module(name, layer)
        self.a.weight = self.z.weight

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.z(torch.relu(self.norm(self.a(x))))
        return outputs


class Points:
    """Examples of two numbers."""

    labels = np.zeros(64, np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, indices: Any, size: int, device: torch.device) -> Iterator[Tensor]:
        points = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
        return iter(points[indices].split(size))


@pytest.mark.parametrize("names", ["az", "za"])
def test_a_tied_tensor_is_weighed_by_its_information_whatever_its_first_name(
    tmp_path: Path, names: str
) -> None:
    architecture: Any = SimpleNamespace(model="tied", predicts_numbers=False)
    examples: Any = Points()
    pool, found = [], []
    for seed in range(2):
        torch.manual_seed(seed)
        model = Tied(*names).eval()
        soup.save(model.state_dict(), tmp_path / str(seed))
        pool.append(Ingredient(str(seed), Checkpoint(tmp_path / str(seed)), 0))
        evaluator = Evaluator(examples, architecture, (Tied(*names).eval(),), 8)
        found.append(evaluator.fisher(pool[-1].weights, 64))
        assert torch.equal(found[-1]["a.weight"], found[-1]["z.weight"])
        assert found[-1]["a.weight"].min() < 1
        assert torch.equal(found[-1]["norm.running_mean"], torch.ones(2))
    floor = 1e-6 * max(float(f["a.weight"].max()) for f in found)
    shares = [f["a.weight"].clamp(min=floor) for f in found]
    wanted = sum(f * i.weights["a.weight"] for f, i in zip(shares, pool, strict=True)) / sum(shares)
    torch.testing.assert_close(fisher(pool, found).weights["a.weight"], wanted.float())
