"""Greedy with removal: Recipe 1, and members that hinder go."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from soup.recipes.ingredient import Ingredient, Trial
from soup.recipes.judge import Judge
from soup.recipes.removal import removal
from soup.weights import Weights
from tests import reference
from tests.recipes.families import assert_close, away_from, hasty, patient, scalars
from tests.strategies import Problem, problems


@pytest.mark.parametrize("make_judge", [patient, hasty])
@settings(max_examples=40)
@given(problem=problems())
def test_it_is_the_algorithm(make_judge: Callable[[Problem], Judge], problem: Problem) -> None:
    soup = removal(problem.ingredients, make_judge(problem))
    kept, weights = reference.soup_with_removal(problem.candidates(), problem.accuracy)
    assert soup.kept == tuple(kept)
    assert_close(soup.weights, weights)
    assert soup.errors == problem.wrong(weights).sum()
    if make_judge is hasty:  # which tells whether it was told the limit
        limits = [(t.errors, t.at_most) for t in soup.trace if None not in (t.errors, t.at_most)]
        assert all(errors <= at_most for errors, at_most in limits)
    assert type(soup.errors) is int


def test_a_start_that_hinders_later_company_goes() -> None:
    soup = removal(scalars([11.0, 8.0, 12.0], target=10.0), away_from(10.0))
    assert soup.trace == (
        Trial("a", 1.0, None, kept=True),
        Trial("b", 0.5, 1.0, kept=True),
        Trial("a", None, pytest.approx(0.5), kept=True),
        Trial("c", pytest.approx(1 / 3), 0.5, kept=True),
        Trial("a", 0.0, pytest.approx(1 / 3), kept=False),
        Trial("b", None, pytest.approx(0), kept=True),
        Trial("b", None, pytest.approx(0), kept=True),
    )
    assert (soup.kept, soup.errors) == (("b", "c"), 0)


def listed(scores: dict[str, int]) -> Judge:
    """Knows the errors of each soup by its members' names, whose weights are one-hot."""

    def judge(weights: Weights, at_most: float | None = None) -> int | None:
        errors = scores["".join(np.array(list("abc"))[weights["w"].numpy() > 0])]
        return None if at_most is not None and errors > at_most else errors

    return judge


@pytest.mark.parametrize(
    ("without_a", "without_b", "kept"),
    [(2, 1, "ac"), (1, 2, "bc"), (1, 1, "bc"), (3, 2, "ac"), (3, 3, "abc"), (4, 9, "abc")],
)
def test_the_one_goes_without_whom_it_is_best(without_a: int, without_b: int, kept: str) -> None:
    scores = {"a": 5, "b": 6, "c": 7, "ab": 4, "abc": 3, "bc": without_a, "ac": without_b}
    onehot = dict(zip("abc", torch.eye(3), strict=True))
    pool = [Ingredient(name, {"w": w}, scores[name]) for name, w in onehot.items()]
    soup = removal(pool, listed(scores))
    assert "".join(soup.kept) == kept
    assert soup.errors == scores[kept]
    assert {t.name for t in soup.trace if not t.kept} == set("abc") - set(kept)


def test_a_removal_that_changes_nothing_is_not_made() -> None:
    assert removal(scalars([3.0, 3.0, 3.0], target=5.0), away_from(5.0)).kept == ("a", "b", "c")
