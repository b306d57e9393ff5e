"""The uniform soup averages every ingredient, in the given order."""

import pytest
import torch
from hypothesis import given, settings

from soup.recipes.ingredient import Ingredient, Unusable
from soup.recipes.uniform import uniform
from soup.weights import Weights
from tests import reference
from tests.recipes.families import same, scalars
from tests.strategies import pools


@settings(max_examples=40)
@given(pools())
def test_it_is_the_mean_of_all_scored_or_not(pool: list[Ingredient]) -> None:
    soup = uniform(pool)
    assert soup.kept == tuple(i.name for i in pool)
    assert same(soup.weights, reference.average([dict(i.weights) for i in pool]))


def test_the_sum_is_in_the_given_order_and_dtype() -> None:
    big = [
        Ingredient(n, {"w": torch.tensor(v)}, 0) for n, v in [("a", 1e8), ("b", 1.0), ("c", -1e8)]
    ]
    assert float(uniform(big).weights["w"]) == pytest.approx(1 / 3)
    assert float(uniform(big, accumulate=torch.float32).weights["w"]) == 0
    turned = [big[0], big[2], big[1]]
    assert float(uniform(turned, accumulate=torch.float32).weights["w"]) == pytest.approx(1 / 3)


def test_its_errors_are_those_of_the_average_counted_in_full() -> None:
    asked = []

    def judge(weights: Weights, at_most: float | None = None) -> int:
        asked.append((float(weights["w"]), at_most))
        return 7

    assert uniform(scalars([1.0, 2.0]), judge).errors == 7
    assert asked == [(1.5, None)]
    assert uniform(scalars([1.0, 2.0])).errors is None


def test_its_trace_names_the_ingredients() -> None:
    soup = uniform(scalars([3.0, 1.0, 2.0]))
    assert [(t.name, t.errors, t.kept) for t in soup.trace] == [
        ("a", None, True),
        ("b", None, True),
        ("c", None, True),
    ]


def test_names_given_twice_are_all_listed() -> None:
    pool = [Ingredient(name, {}, 1) for name in ["b", "a", "c", "b", "a"]]
    with pytest.raises(Unusable, match="of the same name: a, b; give each"):
        uniform(pool)
    with pytest.raises(Unusable, match="no ingredients were given"):
        uniform([])
