"""TIES trims, elects a sign, and averages what agrees."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from soup.recipes.ingredient import Unusable
from soup.recipes.ties import smallest_kept_change, ties
from soup.recipes.uniform import uniform
from tests import reference_merges
from tests.recipes.families import Family, assert_close, families, named
from tests.strategies import seeds


@settings(max_examples=40)
@given(families(), st.sampled_from([0.01, 0.2, 0.5, 1.0]), st.sampled_from([0.5, 1.0, 1.5]))
def test_it_is_the_algorithm(family: Family, density: float, scale: float) -> None:
    soup = ties(family.ingredients, family.base, density=density, scale=scale)
    assert_close(
        soup.weights, reference_merges.ties_merged(family.models, family.base, density, scale)
    )


def test_the_three_steps_number_by_number() -> None:
    base = {"w": torch.full((5,), 10.0)}
    changes = [[4.0, 1.0, 3.0, 2.0, 0.0], [2.0, -3.0, -5.0, 1.0, 0.0]]
    models = named([{"w": 10 + torch.tensor(c)} for c in changes])
    # Three of five stay: 4, 3, 2 of the first and 2, -3, -5 of the second.
    found = ties(models, base, density=0.6).weights["w"]
    assert (found - 10).tolist() == [3.0, -3.0, -5.0, 2.0, 0.0]
    assert (ties(models, base, density=0.6, scale=0.5).weights["w"] - 10).tolist() == [
        1.5,
        -1.5,
        -2.5,
        1.0,
        0.0,
    ]


def test_trimming_is_over_the_whole_model_not_tensor_by_tensor() -> None:
    base = {"quiet": torch.zeros(2), "loud": torch.zeros(2)}
    model = {"quiet": torch.tensor([0.1, 0.2]), "loud": torch.tensor([5.0, 6.0])}
    found = ties(named([model]), base, density=0.5).weights
    assert found["quiet"].tolist() == [0, 0]
    assert torch.equal(found["loud"], model["loud"])


def test_opposite_changes_elect_no_sign() -> None:
    base = {"w": torch.tensor([1.0])}
    models = named([{"w": torch.tensor([3.0])}, {"w": torch.tensor([-1.0])}])
    assert ties(models, base, density=1).weights["w"] == 1


@settings(max_examples=40)
@given(families())
def test_where_all_changes_stay_and_agree_it_is_the_uniform_soup(family: Family) -> None:
    raised = [
        {n: torch.maximum(t, family.base[n]) for n, t in model.items()} for model in family.models
    ]
    # A number that one model did not change is an abstention here, and a vote in a mean.
    moved = [
        {
            n: t if n == "mask" else torch.where(t == family.base[n], family.base[n] + 1, t)
            for n, t in model.items()
        }
        for model in raised
    ]
    found = ties(named(moved), family.base, density=1).weights
    expected = uniform(named(moved)).weights
    assert_close(found, {n: expected[n] for n in found})


@settings(max_examples=40)
@given(seeds, st.integers(1, 400), st.floats(0.001, 1))
def test_the_threshold_is_that_of_sorting(seed: int, count: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    # Many decades and many equals, so that both halves of the bits are searched.
    sizes = np.round(rng.normal(size=count), 1) * 10.0 ** rng.integers(-30, 30, count)
    model = {"a": torch.tensor(sizes[::2]), "b": torch.tensor(sizes[1::2]), "i": torch.tensor(9)}
    base = {name: torch.zeros_like(tensor) for name, tensor in model.items()}
    order = np.sort(np.abs(sizes).astype(np.float32))[::-1]
    assert smallest_kept_change(model, base, density) == order[max(round(density * count), 1) - 1]


def test_a_tied_tensor_is_counted_once() -> None:
    large, small = torch.tensor([3.0, 4.0]), torch.tensor([1.0, 2.0])
    base = {"a": torch.zeros(2), "c": torch.zeros(2)}
    base["b"] = base["a"]
    found = ties(named([{"a": large, "b": large, "c": small}]), base, density=0.75).weights
    assert found["c"].tolist() == [0.0, 2.0]


@pytest.mark.parametrize("density", [0, -0.1, 1.1, math.nan])
def test_a_density_that_is_no_share_is_refused(density: float) -> None:
    with pytest.raises(Unusable, match="share of changes to keep, above 0 to 1, not"):
        ties(named([{"w": torch.ones(1)}]), {"w": torch.ones(1)}, density=density)


def test_an_infinite_mask_is_none_of_the_largest_changes() -> None:
    mask = torch.full((2,), -math.inf)
    base = {"w": torch.zeros(2), "mask": mask}
    found = ties(named([{"w": torch.tensor([1.0, 2.0]), "mask": mask}]), base, density=0.25).weights
    assert found["w"].tolist() == [0.0, 2.0]
