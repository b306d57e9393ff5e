"""What the command says of tensors that have no mean, or one that a user should know about."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from soup.weights.checkpoint import Checkpoint, save
from tests.cli.conftest import Command

Model = dict[str, Tensor]


def pool(folder: Path, change: Callable[[int], Model], count: int = 3) -> list[Path]:
    """Files of models near each other, each with a tensor or two of its own."""
    torch.manual_seed(0)
    base = {"mid.weight": torch.randn(16, 16), "fc.weight": torch.randn(3, 16)}
    paths = [folder / f"m{number}.safetensors" for number in range(count)]
    for number, path in enumerate(paths):
        model = {n: t + 0.01 * torch.randn(t.shape) for n, t in base.items()}
        save(model | change(number), path)
    return paths


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["fc.bias", "mid.bias", "mid.table"])
def test_inspect_names_a_number_that_is_none_wherever_it_is(
    soup: Command, tmp_path: Path, value: float, name: str
) -> None:
    def change(number: int) -> Model:
        tensor = torch.full((3, 2) if "table" in name else (5,), 0.5)
        tensor.view(-1)[1] = value if number == 2 else 0.25
        return {name: tensor, "mask": torch.tensor([[0.0, -math.inf]])}

    files = pool(tmp_path, change)
    said = soup("inspect", "--json", *files)
    found = json.loads(said.out)
    assert (said.code, found["averageable"]) == (1, False)
    size = 6 if "table" in name else 5
    assert found["problems"] == [f"{files[2]}: {name} has 1 NaN or infinite of {size} numbers"]
    said = soup("inspect", *files)
    assert said.code == 1
    assert f"{name} has 1 NaN or infinite" in said.err
    assert soup("inspect", *files[:2]).code == 0  # the mask is in each


def test_cook_and_inspect_refuse_what_has_no_mean(soup: Command, tmp_path: Path) -> None:
    def change(number: int) -> Model:
        codes = torch.randint(-99, 99, (8, 8), dtype=torch.int8)
        return {"fc.weight_q": codes, "fc.mask": torch.rand(32) < 0.5}

    files = pool(tmp_path, change)
    for verb in (["inspect"], ["cook", "-r", "uniform", "-o", tmp_path / "out.safetensors"]):
        said = soup(*verb, *files)
        assert said.code == 2
        for part in ("fc.weight_q: integers;", "fc.mask: masks;", "quantise the soup"):
            assert part in said.err
    assert not (tmp_path / "out.safetensors").exists()


def test_mixed_dtypes_and_counters_that_differ_are_said(soup: Command, tmp_path: Path) -> None:
    def change(number: int) -> Model:
        dtype = torch.float16 if number == 0 else torch.float32
        return {"fc.bias": torch.full((2,), float(number)).to(dtype), "age": torch.tensor(number)}

    files, out = pool(tmp_path, change), tmp_path / "out.safetensors"
    said = soup("cook", "-r", "uniform", "-o", out, *files)
    assert said.code == 0
    assert "fc.bias is torch.float16 in the first model and torch.float32 in another" in said.err
    assert "age: integers that differ between the models; the first model's stay" in said.err
    assert (Checkpoint(out)["fc.bias"].dtype, int(Checkpoint(out)["age"])) == (torch.float16, 0)
    said = soup("cook", "-r", "uniform", "--dtype", "float32", "-o", out, *files)
    assert "dtypes differ" not in said.err
    assert "age" in said.err
