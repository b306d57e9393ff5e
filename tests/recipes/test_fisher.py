"""Each number is averaged by the Fisher information that its models have of it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from soup.recipes.fisher import fisher
from soup.recipes.ingredient import Unusable
from soup.recipes.uniform import uniform
from soup.weights import NotFinite
from tests import reference_merges
from tests.recipes.families import Family, Model, assert_close, families, named
from tests.strategies import seeds


def informed(family: Family, seed: int, unknown: float) -> list[Model]:
    """Fisher information for each model, in a share of the numbers none."""
    rng = np.random.default_rng(seed)
    return [
        {
            name: torch.tensor(rng.exponential(size=t.shape) * (rng.random(t.shape) >= unknown))
            for name, t in reference_merges.distinct(model).items()
            if t.is_floating_point()
        }
        for model in family.models
    ]


@settings(max_examples=40)
@given(families(), seeds, st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([1e-6, 0.1]))
def test_it_is_the_equation(family: Family, seed: int, unknown: float, floor: float) -> None:
    fishers = informed(family, seed, unknown)
    expected = reference_merges.fisher_merged(family.models, fishers, floor)
    if "tied" in expected:
        expected["tied"] = expected["layer0"]
    assert_close(fisher(family.ingredients, fishers, floor=floor).weights, expected)


@settings(max_examples=40)
@given(families())
def test_equal_information_or_none_at_all_gives_the_uniform_soup(family: Family) -> None:
    floats = [n for n, t in family.base.items() if t.is_floating_point()]
    uniformly = uniform(family.ingredients).weights
    for value in (0.0, 1.0, 1e-30):
        fishers = [
            {n: torch.full_like(m[n].double(), value) for n in floats} for m in family.models
        ]
        assert_close(fisher(family.ingredients, fishers).weights, uniformly)
    assert_close(fisher(family.ingredients, [{}] * len(family.models)).weights, uniformly)


def test_the_scale_of_the_information_does_not_matter() -> None:
    models = named([{"w": torch.tensor([1.0, 1.0])}, {"w": torch.tensor([5.0, 5.0])}])
    for scale in (1.0, 1e-12):
        fishers = [{"w": scale * torch.tensor([3.0, 0.0])}, {"w": scale * torch.tensor([1.0, 0.0])}]
        assert fisher(models, fishers).weights["w"].tolist() == [2.0, 3.0]


def test_a_tied_tensor_is_weighed_by_whatever_name_its_information_has() -> None:
    pair = [torch.tensor(1.0), torch.tensor(5.0)]
    models = named([{"embed": t, "head": t} for t in pair])
    soup = fisher(models, [{"head": torch.tensor(f)} for f in (3.0, 1.0)]).weights
    assert soup["embed"] is soup["head"]
    assert soup["embed"] == 2


def test_all_that_does_not_fit_is_listed() -> None:
    models = named([{"w": torch.zeros(2), "b": torch.zeros(1)}] * 2)
    fishers = [
        {"w": torch.ones(2), "b": torch.ones(1)},
        {"w": torch.ones(3), "module.b": torch.ones(1)},
    ]
    with pytest.raises(Unusable) as error:
        fisher(models, fishers)
    assert "model 1's has module.b, which no ingredient has" in str(error.value)
    assert "model 1's has no b" in str(error.value)
    assert "model 1's w is (3,), and the tensor (2,)" in str(error.value)
    with pytest.raises(Unusable, match="given for 1 of 2 ingredients; give one for each"):
        fisher(models, fishers[:1])


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
def test_information_that_is_no_mean_of_squares_is_refused(wrong: float) -> None:
    models = named([{"w": torch.zeros(2)}, {"w": torch.ones(2)}])
    fishers = [{"w": torch.ones(2)}, {"w": torch.tensor([1.0, wrong])}]
    with pytest.raises(Unusable, match="model 1's Fisher information of w has 1 of 2 values neg"):
        fisher(models, fishers)


def test_a_model_that_diverged_is_not_hidden_by_a_small_weight() -> None:
    models = named([{"w": torch.zeros(1)}, {"w": torch.tensor([math.nan])}])
    with pytest.raises(NotFinite, match="model 2: w has 1"):
        fisher(models, [{"w": torch.ones(1)}, {"w": torch.zeros(1)}])


@pytest.mark.parametrize("floor", [0, -1, 2, math.nan])
def test_a_floor_that_is_no_share_is_refused(floor: float) -> None:
    with pytest.raises(Unusable, match="floor is a share of the largest value, above 0 to 1, not"):
        fisher(named([{"w": torch.ones(1)}]), [{"w": torch.ones(1)}], floor=floor)
