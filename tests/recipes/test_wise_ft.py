"""WiSE-FT is a point on the line from the base to the uniform soup."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from soup.recipes.ingredient import Ingredient, Unusable
from soup.recipes.uniform import uniform
from soup.recipes.wise_ft import interpolate
from soup.weights import Weights
from tests import reference_merges
from tests.recipes.families import Family, assert_close, families, named, same


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


BLOCKS = ["embed.weight", "blocks.0.w", "blocks.2.w", "blocks.10.w", "head.weight"]
PLACES = [0.0, 0.0, 0.5, 1.0, 1.0]


def network(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {name: torch.randn(3) for name in sorted(BLOCKS)}


@pytest.mark.parametrize(("a", "b"), [(0.2, 0.8), (0.0, 1.0), (1.0, -0.5), (0.6, 0.0)])
def test_lines_scales_the_change_of_each_block_by_its_depth(a: float, b: float) -> None:
    base, *models = map(network, range(3))
    found = interpolate(named(models), base, alpha=a, deep=a + b).weights
    for name, place in zip(BLOCKS, PLACES, strict=True):
        mean = (models[0][name].double() + models[1][name].double()) / 2
        expected = base[name].double() + (a + b * place) * (mean - base[name].double())
        torch.testing.assert_close(found[name].double(), expected, rtol=1e-6, atol=1e-6)


@settings(max_examples=20)
@given(families(most=1))
def test_with_both_factors_one_a_model_comes_back_bit_for_bit(family: Family) -> None:
    depth = {name: index % 3 / 2 for index, name in enumerate(family.base)}
    soup = interpolate(family.ingredients, family.base, alpha=1, deep=1, depth=depth)
    assert same(soup.weights, family.models[0])


def test_a_judge_chooses_the_factor_of_the_first_block() -> None:
    base = {"blocks.0.w": torch.zeros(1), "blocks.1.w": torch.zeros(1)}
    model = {name: torch.ones(1) for name in base}

    def judge(weights: Weights, at_most: float | None = None) -> int:
        assert float(weights["blocks.1.w"]) == 1
        return round(10 * abs(float(weights["blocks.0.w"]) - 0.3))

    soup = interpolate([Ingredient("a", model, 0)], base, judge, deep=1)
    assert float(soup.weights["blocks.0.w"]) == pytest.approx(0.3)
    assert [t.name for t in soup.trace if t.kept] == ["alpha 0.3"]


def test_names_without_numbers_of_blocks_have_no_depth() -> None:
    with pytest.raises(Unusable, match="depth needs blocks that are numbered"):
        interpolate(
            named([{"conv1.weight": torch.ones(1)}]), {"conv1.weight": torch.ones(1)}, deep=1
        )
