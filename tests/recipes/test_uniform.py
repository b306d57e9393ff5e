"""The uniform soup averages every ingredient, in the given order."""

import math

import pytest
import torch
from hypothesis import given, settings

from soup.recipes.ingredient import Ingredient, Unusable
from soup.recipes.uniform import Schedule, uniform
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


@pytest.mark.parametrize("schedule", ["linear", "sqrt"])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_checkpoints_of_a_run_are_weighted_by_the_decay(schedule: Schedule, count: int) -> None:
    torch.manual_seed(0)
    models = [{"w": torch.randn(4, dtype=torch.float64)} for _ in range(count)]
    pool = [Ingredient(f"step{9 + i}", model, math.nan) for i, model in enumerate(models)]
    power = 1.0 if schedule == "linear" else 0.5
    decay = [1 - (i / count) ** power for i in range(count)]
    weights = [0.0] * count
    weights[count - 1] = decay[count - 1]
    for i in range(1, count - 1):
        weights[i] = decay[i] - decay[i + 1]
    weights[0] = 1 - sum(weights[1:])
    expected = sum(c * model["w"] for c, model in zip(weights, models, strict=True))
    found = uniform(pool, schedule=schedule).weights["w"]
    torch.testing.assert_close(found, expected)
    if count == 1:
        assert torch.equal(found, models[0]["w"])
    if schedule == "linear":
        torch.testing.assert_close(found, uniform(pool).weights["w"])
    elif count > 1:
        assert weights == sorted(weights, reverse=True)
        assert not torch.allclose(found, uniform(pool).weights["w"])


@pytest.mark.parametrize(
    "names",
    [["step2", "step1"], ["step10", "step9"], ["a", "b"], ["run1-step2", "step3"], ["e1", "f2"]],
)
def test_a_schedule_is_refused_where_names_do_not_say_the_order(names: list[str]) -> None:
    pool = [Ingredient(name, {"w": torch.ones(1)}, 0) for name in names]
    with pytest.raises(Unusable, match=f"do not say the order: {names[0]}, {names[1]}; name each"):
        uniform(pool, schedule="sqrt")


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(Unusable, match="unknown schedule 'x'; known: linear, sqrt"):
        uniform(scalars([1.0]), schedule="x")  # type: ignore[arg-type]
