"""The uniform soup averages every ingredient that was scored."""

from math import isnan

import torch
from hypothesis import given
from hypothesis import strategies as st

from soup.ingredient import Ingredient
from soup.recipes.uniform import uniform
from soup.weights import Weights
from tests import reference
from tests.strategies import NAN, pools


@given(pools())
def test_it_is_the_mean_of_all_that_were_scored(pool: list[Ingredient]) -> None:
    soup = uniform(pool)
    by_name = {i.name: i for i in pool}
    expected = reference.average([dict(by_name[name].weights) for name in soup.kept])
    assert sorted(soup.kept) == sorted(i.name for i in pool if not isnan(i.errors))
    assert all(torch.equal(soup.weights[name], expected[name]) for name in expected)


@given(st.permutations([0.1, 0.2, 0.7, 1e9]))
def test_the_order_given_does_not_change_a_bit(values: list[float]) -> None:
    pool = [
        Ingredient(str(v), {"w": torch.tensor(v, dtype=torch.float64)}, errors=v) for v in values
    ]
    best_first = sum([0.1, 0.2, 0.7, 1e9]) / 4
    assert float(uniform(pool).weights["w"]) == best_first


def test_its_errors_are_those_of_the_average_counted_in_full() -> None:
    asked = []

    def judge(weights: Weights, at_most: int | None = None) -> int:
        asked.append((float(weights["w"]), at_most))
        return 7

    pool = [Ingredient(n, {"w": torch.tensor(v)}, v) for n, v in [("a", 1.0), ("b", 2.0)]]
    assert uniform(pool, judge).errors == 7
    assert asked == [(1.5, None)]
    assert uniform(pool).errors is None


def test_its_trace_names_the_ingredients_best_first() -> None:
    pool = [Ingredient(n, {"w": torch.zeros(1)}, e) for n, e in [("a", 5), ("b", NAN), ("c", 2)]]
    assert [t.name for t in uniform(pool).trace] == ["c", "a"]
