"""Means of float8 and complex numbers, against sums of fractions and of complex128."""

import math
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor

from soup.weights import Incompatible, NotFinite, average, cast, combine, gram
from soup.weights.checkpoint import Checkpoint, save
from soup.weights.running_mean import RunningMean

FLOAT8 = [
    torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz,
]  # fmt: skip


def mean(tensors: list[Tensor]) -> list[Fraction]:
    columns = zip(*(tensor.double().flatten().tolist() for tensor in tensors), strict=True)
    return [sum(map(Fraction, column)) / len(tensors) for column in columns]


@pytest.mark.parametrize("dtype", FLOAT8)
@pytest.mark.parametrize("count", [2, 3, 7])
def test_float8_is_averaged_and_rounded_once(
    dtype: torch.dtype, count: int, tmp_path: Path
) -> None:
    torch.manual_seed(count)
    tensors = [torch.randn(200).mul(20).to(dtype) for _ in range(count)]
    grid = torch.arange(256, dtype=torch.uint8).view(dtype).double()
    grid = grid[grid.isfinite()]
    found = average([{"w": t} for t in tensors])["w"]
    assert found.dtype == dtype
    for value, exact in zip(found.double().tolist(), mean(tensors), strict=True):
        nearest = min(abs(Fraction(x) - exact) for x in grid.tolist())
        assert abs(Fraction(value) - exact) == nearest
    for number, tensor in enumerate(tensors):
        save({"w": tensor}, tmp_path / str(number))
    files = average([Checkpoint(tmp_path / str(n)) for n in range(count)])
    assert torch.equal(files["w"].float(), found.float())


@pytest.mark.parametrize("dtype", FLOAT8)
def test_float8_that_is_too_large_is_an_error_and_no_448(dtype: torch.dtype) -> None:
    model = {"w": torch.tensor([torch.finfo(dtype).max]).to(dtype)}
    assert float(average([model, model])["w"]) == torch.finfo(dtype).max
    with pytest.raises(NotFinite, match=r"w: the result is too large for torch\.float8"):
        combine([(2, model)])
    with pytest.raises(NotFinite, match="too large"):
        cast({"w": torch.tensor([1e6])}, dtype)
    running = RunningMean()
    running.add(model)
    assert not running.value({"w": torch.tensor([math.inf])})["w"].float().isfinite()


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_numbers_are_averaged(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    tensors = [torch.randn(shape, dtype=dtype).conj() for _ in range(3)]
    found = average([{"w": tensor} for tensor in tensors])["w"]
    wanted = torch.stack([t.to(torch.complex128) for t in tensors]).mean(dim=0).to(dtype)
    torch.testing.assert_close(found, wanted, rtol=2e-7, atol=0)
    running = RunningMean()
    running.add({"w": tensors[0]})
    running.add({"w": tensors[1]})
    assert torch.equal(running.value({"w": tensors[2]})["w"], found)
    products = gram([{"w": tensor} for tensor in tensors])["w"]
    inner = (tensors[0].conj() * tensors[1]).sum().real
    torch.testing.assert_close(products[0, 1], inner.double(), rtol=1e-5, atol=1e-12)


def test_a_complex_tensor_and_a_real_one_are_not_alike() -> None:
    with pytest.raises(Incompatible, match=r"w is torch\.complex64 in the first"):
        average([{"w": torch.ones(1, dtype=torch.complex64)}, {"w": torch.ones(1)}])


def test_complex_numbers_come_from_files_in_parts(tmp_path: Path) -> None:
    tensors = [torch.randn(70_001, dtype=torch.complex64) for _ in range(2)]
    for number, tensor in enumerate(tensors):
        save({"w": tensor, "v": torch.ones(3)}, tmp_path / str(number))
    save(average([Checkpoint(tmp_path / str(n)) for n in range(2)]), tmp_path / "out")
    wanted = (tensors[0].to(torch.complex128) + tensors[1].to(torch.complex128)) / 2
    assert torch.equal(Checkpoint(tmp_path / "out")["w"], wanted.to(torch.complex64))
