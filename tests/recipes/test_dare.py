"""DARE drops changes at random, and scales up those that stay."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from soup.recipes.dare import dare
from soup.recipes.ingredient import Ingredient, Unusable
from soup.recipes.task_arithmetic import task
from tests import reference_merges
from tests.recipes.families import Family, Model, assert_close, families, named, same


def masks(family: Family, drop: float, seed: int) -> list[Model]:
    """What stays of each model, found out by merging ones into zeros, one model at a time."""
    zeros = {n: torch.zeros_like(t, dtype=torch.float64) for n, t in family.base.items()}
    ones = {n: torch.ones_like(t) for n, t in zeros.items()}
    names = (each.name for each in family.ingredients)
    return [
        {
            n: (t != 0).double()
            for n, t in dare(
                [Ingredient(name, ones, math.nan)], zeros, drop=drop, seed=seed
            ).weights.items()
        }
        for name in names
    ]


@settings(max_examples=40)
@given(
    families(),
    st.sampled_from([0.0, 0.5, 0.9]),
    st.sampled_from([0.5, 1.0]),
    st.integers(0, 3),
)
def test_it_is_the_equation_whatever_the_dtype_and_the_company(
    family: Family, drop: float, scale: float, seed: int
) -> None:
    staying = masks(family, drop, seed)
    found = dare(family.ingredients, family.base, drop=drop, scale=scale, seed=seed)
    expected = reference_merges.dare_merged(family.models, family.base, staying, drop, scale)
    if "tied" in expected:
        expected["tied"] = expected["layer0"]
    assert_close(found.weights, expected)


@settings(max_examples=40)
@given(families())
def test_nothing_dropped_is_task_arithmetic(family: Family) -> None:
    found = dare(family.ingredients, family.base, drop=0, scale=0.5)
    assert_close(found.weights, task(family.ingredients, family.base, scale=0.5).weights)


def test_the_share_dropped_is_as_asked_and_the_mean_is_kept() -> None:
    zeros, ones = {"w": torch.zeros(200, 200)}, {"w": torch.ones(200, 200)}
    for drop in (0.1, 0.5, 0.9):
        found = dare(named([ones]), zeros, drop=drop).weights["w"]
        torch.testing.assert_close(found.unique(), torch.tensor([0, 1 / (1 - drop)]))
        assert float((found == 0).float().mean()) == pytest.approx(drop, abs=0.01)
        assert float(found.mean()) == pytest.approx(1, abs=0.05)


def test_models_tensors_and_seeds_have_masks_of_their_own() -> None:
    zeros = {n: torch.zeros(100) for n in "ab"}
    ones = {n: torch.ones(100) for n in "ab"}

    def one(name: str, seed: int = 0) -> Model:
        return dict(dare([Ingredient(name, ones, math.nan)], zeros, drop=0.5, seed=seed).weights)

    assert same(one("x"), one("x"))
    assert not torch.equal(one("x")["a"], one("x")["b"])
    assert not torch.equal(one("x")["a"], one("y")["a"])
    assert not torch.equal(one("x")["a"], one("x", seed=1)["a"])


@pytest.mark.parametrize("drop", [1, -0.1, math.nan])
def test_a_drop_that_is_no_share_is_refused(drop: float) -> None:
    with pytest.raises(Unusable, match="share of changes to leave out, from 0 to below 1, not"):
        dare(named([{"w": torch.ones(1)}]), {"w": torch.ones(1)}, drop=drop)
