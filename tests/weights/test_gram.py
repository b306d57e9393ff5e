"""Inner products of state dicts, against sums of Python's floats."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from soup.weights import algebra, gram
from soup.weights.checkpoint import Checkpoint, save
from tests.strategies import alike

Model = dict[str, Tensor]


@given(models=alike(), data=st.data())
def test_gram_has_the_inner_products_of_every_pair(
    models: list[Model], data: st.DataObject
) -> None:
    origin = data.draw(st.sampled_from([None, *models]))
    grams = gram(models, origin)
    for name, products in grams.items():
        for i, a in enumerate(models):
            for j, b in enumerate(models):
                x, y = (
                    [
                        float(v)
                        for v in (
                            m[name].double() - (origin[name].double() if origin else 0)
                        ).flatten()
                    ]
                    for m in (a, b)
                )
                scale = sum(abs(p * q) for p, q in zip(x, y, strict=True))
                expected = math.fsum(p * q for p, q in zip(x, y, strict=True))
                assert float(products[i, j]) == pytest.approx(expected, abs=1e-12 * scale + 1e-300)
    floats = {n for n in models[0] if models[0][n].is_floating_point()}
    assert floats - grams.keys() <= {"tied", "layer0"}


def test_files_are_read_in_parts_which_are_never_whole_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    models = [
        {
            "wide": torch.randn(90, generator=generator, dtype=torch.float64),
            "half": torch.randn(8, 5, generator=generator).bfloat16(),
        }
        for _ in range(4)
    ]
    for number, model in enumerate(models):
        save(model, tmp_path / f"{number}.safetensors")
    files = [Checkpoint(tmp_path / f"{number}.safetensors") for number in range(4)]
    monkeypatch.setattr(algebra, "CHUNK", 60)
    expected = gram(models[1:], models[0])
    monkeypatch.delattr(Checkpoint, "__getitem__")
    found = gram(files[1:], files[0])
    assert found.keys() == expected.keys() == {"wide", "half"}
    for name, products in expected.items():
        assert torch.equal(found[name], products)
