"""RADIN ranks random soups by averaged logits, and judges only the most promising."""

import math
from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from soup.evaluation.averaged_logits import AveragedLogits
from soup.evaluation.judges import TOP1_ERROR
from soup.recipes.greedy import greedy
from soup.recipes.ingredient import Ingredient, Unusable
from soup.recipes.proposing import proposed
from soup.recipes.radin import promising, radin
from soup.recipes.repetition import repetition
from soup.weights import Weights
from tests.recipes.families import OfAverages, away_from, patient, same, scalars
from tests.strategies import Problem, problems

NAMES = "abcde"
VALUES = [-4.0, 10.0, 1.0, -3.0, 5.0]


def loss(weights: Weights, at_most: float | None = None) -> float:
    return abs(float(weights["w"]))


def test_of_all_subsets_the_best_by_logits_are_judged_in_order_and_the_best_is_kept() -> None:
    pool = scalars(VALUES, target=0.0)

    class Logits:
        """Not the loss of the mean, which the judge knows: that of the mean moved by 1."""

        def cost(self, counts: Mapping[str, int]) -> float:
            means = [VALUES[NAMES.index(name)] for name in counts]
            return abs(sum(means) / len(means) - 1)

    soup = radin(pool, loss, Logits(), candidates=5000, tried=3)
    subsets = [s for size in range(2, 6) for s in combinations(NAMES, size)]

    def mean(members: tuple[str, ...]) -> float:
        return sum(VALUES[NAMES.index(name)] for name in members) / len(members)

    expected = sorted(abs(mean(members) - 1) for members in subsets)[:3]
    judged = [tuple(sorted(trial.name.split(" + "))) for trial in soup.trace[1:]]
    assert [abs(mean(members) - 1) for members in judged] == pytest.approx(expected)
    best = min(abs(mean(members)) for members in judged)
    assert soup.errors == pytest.approx(min(best, 1.0))
    assert sum(trial.kept for trial in soup.trace) == 1


@settings(max_examples=30, deadline=None)
@given(problems())
def test_it_is_no_worse_than_the_best_single_model(problem: Problem) -> None:
    judge = patient(problem)
    pool = problem.ingredients
    soup = radin(pool, judge, OfAverages(pool, judge), candidates=20, tried=2)
    assert soup.errors == judge(soup.weights)
    assert len(soup.trace) <= 3
    known = [i.errors for i in pool if not np.isnan(i.errors)]
    assert soup.errors is not None
    assert soup.errors <= min(known)


def test_one_model_comes_back_bit_for_bit_without_a_judgement() -> None:
    pool = [Ingredient("a", {"w": torch.tensor([0.1, -0.0])}, 3)]
    soup = radin(pool, lambda weights, at_most=None: 1 / 0, OfAverages(pool, loss))
    assert same(soup.weights, pool[0].weights)
    assert (soup.kept, soup.errors) == (("a",), 3)


def test_the_seed_decides_which_soups_are_drawn_and_no_soup_is_drawn_twice() -> None:
    pool = scalars([float(i) for i in range(9)], target=4.0)
    costs = OfAverages(pool, away_from(4.0))
    one, again, other = (promising(pool, costs, 40, seed) for seed in (1, 1, 2))
    assert one == again != other
    assert len({*one}) == len(one) > 30
    sizes = {len(members) for members in one}
    assert min(sizes) == 2
    assert max(sizes) == 9


def test_repetition_judges_only_what_the_logits_propose() -> None:
    pool = scalars([-6.0, -8.0, 14.0], target=0.0)
    predictions = OfAverages(pool, loss)
    soup = repetition(pool, loss, propose=1, predictions=predictions)
    whole = repetition(pool, loss)
    assert soup.kept == whole.kept == ("a", "c", "b")
    assert len(soup.trace) == 4 < len(whole.trace)
    assert {"a": 1, "c": 1, "b": 1} in predictions.asked
    with pytest.raises(Unusable, match=r"propose \(2\) is the number of additions"):
        repetition(pool, loss, propose=2)


def test_greedy_tries_next_what_adds_most_to_the_answers_of_the_soup() -> None:
    pool = scalars([-6.0, -8.0, 14.0], target=0.0)
    predictions = OfAverages(pool, loss)
    assert greedy(pool, loss).kept == ("a", "c")  # b comes second, and makes a worse
    soup = greedy(pool, loss, order="answers", predictions=predictions)
    assert [trial.name for trial in soup.trace] == ["a", "c", "b"]
    assert soup.kept == ("a", "c", "b")
    assert soup.errors == loss(soup.weights) == 0
    assert {"a": 1, "c": 1, "b": 1} in predictions.asked


def test_the_judge_decides_whatever_the_answers_promise() -> None:
    pool = scalars([-6.0, -8.0, 14.0], target=0.0)

    def strict(weights: Weights, at_most: float | None = None) -> float:
        return 7.0

    soup = greedy(pool, strict, order="answers", predictions=OfAverages(pool, loss))
    assert soup.kept == ("a",)
    assert same(soup.weights, pool[0].weights)
    assert len(soup.trace) == 3  # each is tried once


def test_an_order_that_is_unknown_or_has_nothing_to_go_by_is_refused() -> None:
    pool = scalars([1.0, 2.0], target=0.0)
    with pytest.raises(Unusable, match="order: answers needs the held-out answers"):
        greedy(pool, loss, order="answers")
    with pytest.raises(Unusable, match="unknown order 'best'"):
        greedy(pool, loss, order="best")  # type: ignore[arg-type]


@pytest.mark.parametrize("option", ["candidates", "tried"])
def test_no_candidates_are_refused(option: str) -> None:
    pool = scalars([1.0], target=0.0)
    with pytest.raises(Unusable, match="are at least 1"):
        radin(pool, loss, OfAverages(pool, loss), **{option: 0})


def test_averaged_logits_cost_what_their_mean_costs_number_by_number() -> None:
    rng = np.random.default_rng(0)
    logits = {name: rng.normal(size=(30, 4)).astype(np.float16) for name in "abc"}
    labels = rng.integers(0, 4, 30)
    found = AveragedLogits(logits, labels, lambda a, b: int(TOP1_ERROR(a, b).sum()))
    for counts in ({"a": 1}, {"a": 1, "b": 1}, {"a": 2, "c": 1}):
        errors = 0
        for example, label in enumerate(labels):
            row = [
                sum(n * float(logits[name][example][k]) for name, n in counts.items())
                for k in range(4)
            ]
            errors += row.index(max(row)) != label
        assert found.cost(counts) == errors


def test_logits_without_a_cost_are_tried_last() -> None:
    pool = scalars(VALUES, target=0.0)

    class Logits:
        def cost(self, counts: Mapping[str, int]) -> float:
            return math.nan if "c" in counts else -float(len(counts))

    order = promising(pool, Logits(), candidates=200, seed=0)
    sizes = [len(members) for members in order]
    names = [{pool[index].name for index in members} for members in order]
    first = next(i for i, members in enumerate(names) if "c" in members)
    assert sizes[:first] == sorted(sizes[:first], reverse=True)
    assert 0 < first < len(order)
    assert all("c" in members for members in names[first:])
    assert proposed(pool, {}, Logits(), most=5)[-1] == 2
