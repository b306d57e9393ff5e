"""Model Stock draws the mean to the base, as far as the angle between the models says."""

import math

import pytest
import torch
from hypothesis import given, settings

from soup.recipes.model_stock import ratio, stock
from tests import reference_merges
from tests.recipes.families import Family, assert_close, families, named
from tests.strategies import seeds


@settings(max_examples=40)
@given(families())
def test_it_is_the_equation_tensor_by_tensor(family: Family) -> None:
    soup = stock(family.ingredients, family.base)
    assert_close(soup.weights, reference_merges.model_stock(family.models, family.base))


@pytest.mark.parametrize("degrees", [0, 30, 60, 89])
def test_two_models_of_one_length_meet_where_the_paper_says(degrees: float) -> None:
    """The foot of the perpendicular from the base to the line between them is at t = 2c / (1 + c)
    of their mean, whatever the base."""
    angle = math.radians(degrees)
    base = torch.tensor([5.0, -7.0], dtype=torch.float64)
    ends = [base + torch.tensor([math.cos(angle), sign * math.sin(angle)]) for sign in (0, 1)]
    ends[0] = base + torch.tensor([1.0, 0.0])
    found = stock(named([{"w": end} for end in ends]), {"w": base}).weights["w"]
    cosine = math.cos(angle)
    expected = base + 2 * cosine / (1 + cosine) * ((ends[0] + ends[1]) / 2 - base)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@settings(max_examples=40)
@given(seeds)
def test_rounding_does_not_draw_equal_models_to_a_base_that_is_far(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    model = {"w": 1e-9 * torch.randn(40, generator=generator, dtype=torch.float64)}
    base = {"w": 1e6 * torch.randn(40, generator=generator, dtype=torch.float64)}
    assert torch.equal(stock(named([model] * 2), base).weights["w"], model["w"])


def test_perpendicular_and_opposed_models_give_the_base() -> None:
    base = {"w": torch.tensor([1.0, 2.0])}
    for other in ([1.0, 3.0], [0.0, 2.0], [-1.0, 2.5]):
        models = named([{"w": torch.tensor([2.0, 2.0])}, {"w": torch.tensor(other)}])
        assert torch.equal(stock(models, base).weights["w"], base["w"])


def test_the_ratio_grows_with_the_cosine_and_with_the_number_of_models() -> None:
    def products(count: int, cosine: float) -> torch.Tensor:
        return 4 * (torch.full((count, count), cosine) + (1 - cosine) * torch.eye(count)).double()

    for count in (2, 3, 8):
        ratios = [ratio(products(count, cosine)) for cosine in (0.0, 0.2, 0.5, 0.9, 1.0)]
        assert ratios == sorted(ratios)
        assert (ratios[0], ratios[-1]) == (0, 1)
    assert ratio(products(2, 0.5)) < ratio(products(3, 0.5)) < ratio(products(8, 0.5))


def test_a_model_that_left_a_tensor_alone_is_perpendicular_to_the_others() -> None:
    base = {"w": torch.zeros(2)}
    moved = {"w": torch.tensor([1.0, 0.0])}
    soup = stock(named([moved, moved, base]), base)
    t = 3 * (1 / 3) / (1 + 2 / 3)  # of three pairs one has cosine 1
    assert float(soup.weights["w"][0]) == pytest.approx(t * 2 / 3)


def test_each_tensor_has_a_ratio_of_its_own() -> None:
    base = {"a": torch.zeros(2), "b": torch.zeros(2)}
    ends = torch.eye(2)
    models = named([{"a": end, "b": torch.ones(2)} for end in ends])
    found = stock(models, base).weights
    assert found["a"].tolist() == [0, 0]
    assert found["b"].tolist() == [1, 1]
