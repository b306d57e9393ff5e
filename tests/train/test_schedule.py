"""The learning rate of each step."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from soup.train.schedule import Schedule

PLAN = Schedule(epochs=3, steps_per_epoch=7, lr=0.01, warmup=0.2, seed=5)


def test_the_rate_rises_linearly_and_falls_as_half_a_cosine() -> None:
    plan = Schedule(epochs=10, steps_per_epoch=10, lr=2.0, warmup=0.1, seed=0)
    rates = [plan.rate(step) for step in range(plan.steps)]
    assert rates[:10] == pytest.approx([0.2 * k for k in range(1, 11)])
    assert rates[10] == pytest.approx(2.0)
    assert rates[55] == pytest.approx(1.0)
    assert rates[40] == pytest.approx(1 + math.cos(math.pi * 30 / 90))
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[99] < 2.0 * 1e-3


@pytest.mark.parametrize("warmup", [0.0, 1.0, 0.001])
def test_the_rate_is_positive_at_every_step_of_a_run(warmup: float) -> None:
    plan = replace(PLAN, warmup=warmup)
    rates = [plan.rate(step) for step in range(plan.steps)]
    assert all(0 < rate <= plan.lr + 1e-12 for rate in rates)
    assert max(rates) == pytest.approx(plan.lr)


def test_a_warm_up_of_one_or_more_is_a_number_of_steps() -> None:
    plan = Schedule(epochs=10, steps_per_epoch=100, lr=1.0, warmup=500, seed=0)
    assert plan.rate(249) == pytest.approx(0.5)
    assert plan.rate(499) == pytest.approx(1.0)
    assert replace(plan, warmup=5000).rate(999) == pytest.approx(1.0)


def test_for_swa_the_rate_is_constant_at_the_end() -> None:
    plan = Schedule(10, 10, 2.0, warmup=0.1, seed=0, flat_from=0.75, flat_lr=0.25)
    usual = replace(plan, flat_from=1.0)
    assert [plan.rate(s) for s in range(75)] == [usual.rate(s) for s in range(75)]
    assert {plan.rate(s) for s in range(75, 100)} == {0.5}
    assert [plan.flat(s) for s in (74, 75, 99)] == [False, True, True]
    assert not any(usual.flat(s) for s in range(100))


def test_a_linear_decay_falls_by_the_same_each_step_to_nothing() -> None:
    plan = Schedule(10, 10, 2.0, warmup=0.1, seed=0, decay="linear")
    rates = [plan.rate(step) for step in range(10, 100)]
    assert rates[0] == 2.0
    assert [a - b for a, b in pairwise(rates)] == pytest.approx([2 / 90] * 89)
    assert plan.rate(100) == 0
