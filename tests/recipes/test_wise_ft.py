"""WiSE-FT is a point on the line from the base to the uniform soup."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from soup.recipes.uniform import uniform
from soup.recipes.wise_ft import interpolate
from tests import reference_merges
from tests.recipes.families import Family, assert_close, families


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
