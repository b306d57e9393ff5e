"""Inner products of state dicts, against sums of Python's floats."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from soup.weights import gram
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
