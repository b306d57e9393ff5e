"""Task arithmetic scales the mean change, beyond the uniform soup too."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from soup.recipes.task_arithmetic import task
from soup.recipes.uniform import uniform
from tests import reference_merges
from tests.recipes.families import Family, assert_close, families, named


@settings(max_examples=40)
@given(families(), st.sampled_from([-1.0, 0.3, 1.0, 1.5, 2.0]))
def test_it_is_the_equation(family: Family, scale: float) -> None:
    soup = task(family.ingredients, family.base, scale=scale)
    assert_close(soup.weights, reference_merges.interpolated(family.models, family.base, scale))


@settings(max_examples=40)
@given(families())
def test_a_scale_of_1_is_the_uniform_soup(family: Family) -> None:
    soup = task(family.ingredients, family.base)
    assert_close(soup.weights, uniform(family.ingredients).weights)


def test_it_goes_on_beyond_the_models_and_away_from_them() -> None:
    models, base = named([{"w": torch.tensor(v)} for v in (3.0, 5.0)]), {"w": torch.tensor(1.0)}
    assert task(models, base, scale=2).weights["w"] == 7
    assert task(models, base, scale=-1).weights["w"] == -2
