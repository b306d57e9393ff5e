"""Lengths, angles and inner products of state dicts, against sums of Python's floats."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from soup.weights import angle, combine, dot, gram, norm
from tests.strategies import alike, one

Model = dict[str, Tensor]


@given(alike(least=2, most=2))
def test_dot_is_the_sum_of_products_of_all_floats(models: list[Model]) -> None:
    a, b = models
    pairs = [
        (x, y)
        for name in a
        if a[name].is_floating_point()
        for x, y in zip(*(m[name].double().flatten().tolist() for m in models), strict=True)
    ]
    scale = math.fsum(abs(x * y) for x, y in pairs)
    assert dot(a, b) == pytest.approx(math.fsum(x * y for x, y in pairs), abs=1e-12 * scale)


def test_norm_is_the_length_over_all_tensors() -> None:
    assert norm({"a": torch.tensor([3.0]), "b": torch.tensor([[4.0]]), "n": torch.tensor(9)}) == 5


@pytest.mark.parametrize(
    ("b", "degrees"),
    [((2, 1), 0), ((5, 1), 0), ((3, 3), 45), ((1, 2), 90), ((0, 1), 180)],
)
def test_an_angle_is_seen_from_the_origin_given(b: tuple[float, float], degrees: float) -> None:
    assert angle(one(2, 1), one(*b), origin=one(1, 1)) == pytest.approx(degrees)


def test_the_angle_between_parallel_directions_survives_rounding() -> None:
    a = one(0.7, 0.4, 0.8, dtype=torch.float64)
    assert angle(a, combine([(3, a)]), origin=one(0, 0, 0, dtype=torch.float64)) < 1e-5


@given(models=alike(), data=st.data())
def test_gram_has_the_inner_products_of_every_pair(
    models: list[Model], data: st.DataObject
) -> None:
    origin = data.draw(st.sampled_from([None, *models]))
    found = gram(models, origin)
    for name, products in found.items():
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
    assert floats - found.keys() <= {"tied", "layer0"}


def test_an_angle_at_the_origin_itself_is_not_a_number() -> None:
    assert math.isnan(angle(one(1, 1), one(2, 1), origin=one(1, 1)))
