"""SLERP goes along the arc between two models."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from soup.recipes.ingredient import Unusable
from soup.recipes.slerp import slerp
from tests import reference_merges
from tests.recipes.families import Family, assert_close, families, named, same

shares = st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0])


@settings(max_examples=40)
@given(families(least=2, most=2), shares, st.booleans())
def test_it_is_the_equation(family: Family, t: float, about_base: bool) -> None:
    start, end = family.models
    centre = family.base if about_base else {n: torch.zeros_like(x) for n, x in start.items()}
    found = slerp(family.ingredients, family.base if about_base else None, t=t)
    assert_close(found.weights, reference_merges.slerped(start, end, t, centre))


@settings(max_examples=40)
@given(families(least=2, most=2), st.booleans())
def test_its_ends_are_the_models_to_the_bit(family: Family, about_base: bool) -> None:
    floats = [n for n, x in family.base.items() if x.is_floating_point()]
    for t, end in enumerate(family.models):
        found = slerp(family.ingredients, family.base if about_base else None, t=t).weights
        assert same({n: found[n] for n in floats}, {n: end[n] for n in floats})


def test_half_way_between_two_perpendicular_models_the_length_is_kept() -> None:
    turned = torch.tensor([[3.0, 0.0], [0.0, 3.0]])
    found = slerp(named([{"w": row} for row in turned])).weights["w"]
    torch.testing.assert_close(found, torch.full((2,), 3 / math.sqrt(2)))
    centre = torch.tensor([10.0, 20.0])
    about = slerp(named([{"w": centre + row} for row in turned]), {"w": centre}).weights["w"]
    torch.testing.assert_close(about, centre + 3 / math.sqrt(2))


def test_nearly_parallel_and_opposite_tensors_take_the_line() -> None:
    x = torch.tensor([1.0, 2.0, -3.0], dtype=torch.float64)
    for factor in (2.0, -0.5, 0.0):
        found = slerp(named([{"w": x}, {"w": factor * x}]), t=0.25).weights["w"]
        torch.testing.assert_close(found, x * (0.75 + 0.25 * factor))


def test_a_cosine_that_rounding_takes_beyond_1_is_taken_for_1() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        x = torch.randn(3, generator=generator, dtype=torch.float64)
        for factor in (3.0, -3.0):
            found = slerp(named([{"w": x}, {"w": factor * x}])).weights["w"]
            torch.testing.assert_close(found, (1 + factor) / 2 * x)


def test_the_line_and_the_arc_meet_at_the_threshold() -> None:
    """No jump where one gives way to the other: less than float32 can tell."""
    halves = []
    for angle in (0.99e-4, 1.01e-4):
        ends = [[1.0, 0.0], [math.cos(angle), math.sin(angle)]]
        models = [{"w": torch.tensor(end, dtype=torch.float64)} for end in ends]
        halves.append(float(slerp(named(models)).weights["w"].norm()))
    assert halves[0] != pytest.approx(1, abs=1e-12)
    assert halves[1] == pytest.approx(1, abs=1e-12)
    assert halves[0] == pytest.approx(1, abs=2**-24)


@pytest.mark.parametrize("count", [1, 3])
def test_other_than_two_models_are_refused(count: int) -> None:
    with pytest.raises(Unusable, match=f"between two models, and {count} were given"):
        slerp(named([{"w": torch.ones(1)}] * count))
