"""WiSE-FT is a point on the line from the base to the uniform soup."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from soup.recipes.uniform import uniform
from soup.recipes.wise_ft import curve, interpolate
from soup.weights import Weights
from tests import reference_merges
from tests.recipes.families import Family, assert_close, families, named


@settings(max_examples=40)
@given(families(), st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]))
def test_it_is_the_equation(family: Family, alpha: float) -> None:
    soup = interpolate(family.ingredients, family.base, alpha=alpha)
    assert_close(soup.weights, reference_merges.interpolated(family.models, family.base, alpha))


@settings(max_examples=40)
@given(families())
def test_its_ends_are_the_base_and_the_uniform_soup(family: Family) -> None:
    floats = [n for n, t in family.base.items() if t.is_floating_point()]
    start = interpolate(family.ingredients, family.base, alpha=0).weights
    assert all(torch.equal(start[name], family.base[name]) for name in floats)
    end = interpolate(family.ingredients, family.base, alpha=1)
    assert_close(end.weights, uniform(family.ingredients).weights)


def test_the_curve_is_judged_in_full_at_each_alpha() -> None:
    asked = []

    def judge(weights: Weights, at_most: float | None = None) -> int:
        assert at_most is None
        asked.append(float(weights["w"]))
        return len(asked)

    models = named([{"w": torch.tensor(v)} for v in (3.0, 5.0)])
    points = curve(models, {"w": torch.tensor(2.0)}, judge, alphas=(0, 0.5, 1))
    assert asked == [2, 3, 4]
    assert points == [(0, 1), (0.5, 2), (1, 3)]
    assert len(curve(models, {"w": torch.tensor(2.0)}, judge_of_all)) == 11


def judge_of_all(weights: Weights, at_most: float | None = None) -> int:
    return 0
