"""The greedy soup is the paper's Recipe 1, also when the judge stops early."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given

from soup.recipes.greedy import greedy
from soup.recipes.ingredient import Ingredient, Trial
from soup.recipes.judge import Judge
from soup.weights import Incompatible, Weights
from tests import reference
from tests.strategies import NAN, Problem, problems


def patient(problem: Problem) -> Judge:
    """Looks at every example, whatever the rule allows."""

    def judge(weights: Weights, at_most: int | None = None) -> int:
        return int(problem.wrong(weights).sum())

    return judge


def hasty(problem: Problem) -> Judge:
    """Stops at the very example that goes beyond what the rule allows."""

    def judge(weights: Weights, at_most: int | None = None) -> int | None:
        errors = int(problem.wrong(weights).sum())
        return None if at_most is not None and errors > at_most else errors

    return judge


def scalar(name: str, value: float, errors: float) -> Ingredient:
    return Ingredient(name, {"w": torch.tensor(value)}, errors)


def far_from(target: float) -> Judge:
    """Errors are the distance to a target, rounded: an exam that a scalar model can take."""

    def judge(weights: Weights, at_most: int | None = None) -> int:
        return round(abs(float(weights["w"]) - target))

    return judge


def never(weights: Weights, at_most: int | None = None) -> int:
    raise AssertionError("no candidate was left to judge")


@pytest.mark.parametrize("tie", ["keep", "reject"])
@pytest.mark.parametrize("make_judge", [patient, hasty])
@given(problem=problems())
def test_the_soup_is_that_of_recipe_1(
    make_judge: Callable[[Problem], Judge], tie: str, problem: Problem
) -> None:
    soup = greedy(problem.ingredients, make_judge(problem), tie)
    kept, weights, _ = reference.greedy_soup(
        problem.candidates(), problem.accuracy, strictly=tie == "reject"
    )
    assert soup.kept == tuple(kept)
    assert soup.weights.keys() == weights.keys()
    assert all(torch.equal(soup.weights[name], weights[name]) for name in weights)
    assert soup.errors == problem.wrong(weights).sum()


@pytest.mark.parametrize("tie", ["keep", "reject"])
@given(problem=problems())
def test_the_trace_tells_what_became_of_each_candidate(tie: str, problem: Problem) -> None:
    trace = greedy(problem.ingredients, patient(problem), tie).trace
    _, _, tried = reference.greedy_soup(
        problem.candidates(), problem.accuracy, strictly=tie == "reject"
    )
    told = [(t.name, 1 - t.errors / len(problem.labels), t.kept) for t in trace]
    assert told == [tuple(each) for each in tried]
    assert [t.kept for t in trace[1:]] == [t.errors <= t.at_most for t in trace[1:]]


@given(problem=problems())
def test_a_judge_that_stops_early_changes_nothing_but_the_errors_of_the_rejected(
    problem: Problem,
) -> None:
    full = greedy(problem.ingredients, patient(problem)).trace
    early = greedy(problem.ingredients, hasty(problem)).trace
    blanked = [t if t.kept else Trial(t.name, None, t.at_most, kept=False) for t in full]
    assert list(early) == blanked


def test_an_equal_score_is_kept_by_the_paper_and_not_by_the_published_code() -> None:
    pair = [scalar("a", 3.0, errors=2), scalar("b", 3.0, errors=2)]
    assert greedy(pair, far_from(5.0)).kept == ("a", "b")
    assert greedy(pair, far_from(5.0), tie="reject").kept == ("a",)


def test_a_newcomer_is_judged_in_the_soup_and_against_the_soup() -> None:
    # Alone, b is as bad as a and c is worse than both; with a, b is perfect; then c does not help.
    three = [scalar("a", 0.0, 4), scalar("b", 8.0, 4), scalar("c", 10.0, 6)]
    soup = greedy(three, far_from(4.0))
    assert soup.kept == ("a", "b")
    assert soup.weights["w"] == 4.0
    assert soup.trace == (
        Trial("a", 4, None, kept=True),
        Trial("b", 0, 4, kept=True),
        Trial("c", 2, 0, kept=False),
    )


def test_an_unscored_ingredient_is_not_even_read() -> None:
    unscored = Ingredient("unscored", {"w": None}, NAN)  # type: ignore[dict-item]
    soup = greedy([unscored, scalar("a", 1.0, 3)], never)
    assert soup.trace == (Trial("a", 3, None, kept=True),)


def test_scores_of_numpy_are_reported_as_plain_integers() -> None:
    soup = greedy([scalar("a", 1.0, np.float64(3))], never)
    assert type(soup.errors) is int


def test_an_ingredient_from_another_head_is_an_error() -> None:
    other = Ingredient("b", {"w": torch.zeros(2)}, 5)
    with pytest.raises(Incompatible, match=r"w is \(\) in the first and \(2,\) in the second"):
        greedy([scalar("a", 1.0, 3), other], never)


def test_an_unknown_tie_rule_is_told_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown tie rule 'toss'; known: keep .*, reject"):
        greedy([scalar("a", 1.0, 3)], never, tie="toss")  # type: ignore[arg-type]
