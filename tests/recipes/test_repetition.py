"""Greedy with repetition: the best addition of all, again and again."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings

from soup.recipes.ingredient import Trial
from soup.recipes.judge import Judge
from soup.recipes.repetition import repetition
from soup.weights import Weights
from tests import reference
from tests.recipes.families import assert_close, away_from, hasty, patient, scalars
from tests.strategies import Problem, problems


@pytest.mark.parametrize("make_judge", [patient, hasty])
@settings(max_examples=40)
@given(problem=problems())
def test_it_is_the_algorithm(make_judge: Callable[[Problem], Judge], problem: Problem) -> None:
    soup = repetition(problem.ingredients, make_judge(problem))
    kept, weights = reference.soup_with_repetition(problem.candidates(), problem.accuracy)
    assert soup.kept == tuple(kept)
    assert_close(soup.weights, weights)
    assert soup.errors == problem.wrong(weights).sum()


def test_a_member_is_added_again_while_that_helps() -> None:
    # Losses on the way: 4, 3, 2 / 3, 1 / 2.
    soup = repetition(scalars([-4.0, 10.0], target=0.0), away_from(0.0))
    assert soup.kept == ("a", "b", "a", "a")
    assert float(soup.weights["w"]) == soup.errors / -1 == -0.5
    assert tuple(t.name for t in soup.trace if t.kept) == soup.kept


def test_the_best_addition_is_taken_not_the_first_that_helps() -> None:
    soup = repetition(scalars([-6.0, -8.0, 14.0], target=0.0), away_from(0.0))
    assert soup.kept == ("a", "c", "b")
    assert soup.trace[:7] == (
        Trial("a", 6.0, None, kept=True),
        Trial("a", None, pytest.approx(6), kept=False),
        Trial("b", None, pytest.approx(6), kept=False),
        Trial("c", 4.0, pytest.approx(6), kept=True),
        Trial("a", pytest.approx(2 / 3), pytest.approx(4), kept=False),
        Trial("b", 0.0, pytest.approx(2 / 3), kept=True),
        Trial("c", None, pytest.approx(0), kept=False),
    )
    assert len(soup.trace) == 7 + 3


def test_it_stops_after_so_many_steps() -> None:
    pool = scalars([-4.0, 10.0], target=0.0)
    kept = [repetition(pool, away_from(0.0), steps=steps).kept for steps in range(3)]
    assert kept == [("a",), ("a", "b"), ("a", "b", "a")]


def test_a_mean_without_a_cost_loses_to_any_that_has_one() -> None:
    pool = scalars([0.0, 2.0, 4.0], target=0.0)

    def judge(weights: Weights, at_most: float | None = None) -> float:
        value = float(weights["w"])
        return math.nan if value in (0, 2) else value

    soup = repetition(pool, judge, steps=1)
    assert (soup.kept, soup.errors) == (("a", "b"), 1)
    broken = repetition(pool, lambda weights, at_most=None: math.nan)
    assert broken.kept == ("a",)
