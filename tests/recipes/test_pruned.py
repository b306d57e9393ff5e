"""The pruned soup drops from the worst on whoever it does without."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings

from soup.recipes.ingredient import Ingredient, Trial
from soup.recipes.judge import Judge
from soup.recipes.pruned import pruned
from soup.weights import Weights
from tests import reference
from tests.recipes.families import assert_close, away_from, hasty, patient, scalars
from tests.strategies import NAN, Problem, problems


@pytest.mark.parametrize("make_judge", [patient, hasty])
@settings(max_examples=40)
@given(problem=problems())
def test_it_is_the_papers(make_judge: Callable[[Problem], Judge], problem: Problem) -> None:
    soup = pruned(problem.ingredients, make_judge(problem))
    kept, weights, tried = reference.pruned_soup(problem.candidates(), problem.accuracy)
    assert soup.kept == tuple(kept)
    assert_close(soup.weights, weights)
    assert soup.errors == problem.wrong(weights).sum()
    if make_judge is hasty:  # which tells whether it was told the limit
        limits = [(t.errors, t.at_most) for t in soup.trace if None not in (t.errors, t.at_most)]
        assert all(errors <= at_most for errors, at_most in limits)
    judged = [t for t in soup.trace if len(soup.kept) > 1 or t.name not in soup.kept]
    if make_judge is patient and len(judged) == len(tried):
        told = [(t.name, 1 - t.errors / len(problem.labels), t.kept) for t in judged]
        assert told == [tuple(each) for each in tried]


def test_it_goes_from_the_worst_on_and_keeps_the_last() -> None:
    soup = pruned(scalars([4.0, 8.0, 1.0], target=4.0), away_from(4.0))
    # All: 13/3, so 1/3 off. Without b (8): 2.5. Without c (1): 6. Without a: 4.5.
    assert soup.kept == ("a", "c", "b")
    soup = pruned(scalars([4.0, 9.0, 5.0], target=4.0), away_from(4.0))
    # All: 6; without b 4.5; then without c 4; a is the last and is not tried.
    assert soup.kept == ("a",)
    assert soup.errors == 0
    assert soup.trace == (
        Trial("b", 0.5, 2.0, kept=False),
        Trial("c", 0.0, 0.5, kept=False),
        Trial("a", None, 0.0, kept=True),
    )


def test_who_makes_no_difference_goes_and_the_better_ranked_stays() -> None:
    pair = scalars([3.0, 3.0, 3.0], target=5.0)
    assert pruned(pair, away_from(5.0)).kept == ("a",)


def test_the_unscored_have_no_place_in_the_order() -> None:
    unscored = Ingredient("unscored", {"w": None}, NAN)  # type: ignore[dict-item]
    soup = pruned([unscored, *scalars([1.0], target=1.0)], away_from(1.0))
    assert soup.kept == ("a",)
    assert torch.equal(soup.weights["w"], torch.tensor(1.0))


def test_a_mean_without_a_cost_loses_to_any_that_has_one() -> None:
    def judge(weights: Weights, at_most: float | None = None) -> float:
        value = float(weights["w"])
        return math.nan if value > 3 else value

    soup = pruned(scalars([1.0, 2.0, 1000.0, 3.0], target=0.0), judge)
    assert soup.kept == ("a",)
    assert soup.errors == 1
    broken = pruned(scalars([1.0, 2.0], target=0.0), lambda weights, at_most=None: math.nan)
    assert broken.kept == ("a", "b")
