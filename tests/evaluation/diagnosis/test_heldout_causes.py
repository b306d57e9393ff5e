"""Barriers and noise from answers, against sums in Python."""

import math

import numpy as np
import pytest

from soup.evaluation.diagnosis.heldout_causes import barriers, noise, weak


def answers(seed: int, examples: int, accuracy: float) -> np.ndarray:
    return np.random.default_rng(seed).random(examples) < accuracy


def test_the_excess_of_the_middle_is_paired() -> None:
    a, b, middle = (answers(seed, 200, p) for seed, p in ((0, 0.9), (1, 0.8), (2, 0.4)))
    (found,) = barriers("A", {"A": a, "B": b}, {"B": middle})
    lost = [(int(x) + int(y)) / 2 - int(z) for x, y, z in zip(a, b, middle, strict=True)]
    mean = sum(lost) / 200
    se = math.sqrt(sum((x - mean) ** 2 for x in lost) / 200 / 200)
    assert found.evidence["B"]["excess"] == pytest.approx(mean)
    assert found.evidence["B"]["se"] == pytest.approx(se)
    assert f"half-way the error is {100 * mean:.1f} ± {100 * se:.1f} points" in found.summary


@pytest.mark.parametrize(("accuracy", "there"), [(0.95, False), (0.85, False), (0.6, True)])
def test_a_barrier_is_what_chance_does_not_do(accuracy: float, there: bool) -> None:
    models = {"A": answers(0, 400, 0.9), "B": answers(1, 400, 0.8)}
    assert bool(barriers("A", models, {"B": answers(2, 400, accuracy)})) == there


@pytest.mark.parametrize("n", [1, 4, 8])
def test_a_few_examples_show_no_barrier_and_no_weak_model(n: int) -> None:
    right, wrong = np.ones(n, bool), np.zeros(n, bool)
    assert barriers("A", {"A": right, "B": right}, {"B": wrong}) == []
    assert weak("A", {"A": right, "B": wrong}, {"B": wrong}) == []


def test_a_model_that_only_pulls_down_is_weak_and_no_barrier() -> None:
    best, poor = answers(0, 1000, 0.9), answers(1, 1000, 0.5)
    halfway = np.where(answers(2, 1000, 0.5), best, poor)
    models = {"A": best, "B": poor, "C": best}
    middles = {"B": halfway, "C": best}
    assert barriers("A", models, middles) == []
    (found,) = weak("A", models, middles)
    assert set(found.evidence) == {"B"}
    lost = [int(x) - int(y) for x, y in zip(best, halfway, strict=True)]
    assert found.evidence["B"]["gain"] == pytest.approx(-sum(lost) / 1000)
    assert f"averaged with it costs {100 * sum(lost) / 1000:.1f} ± " in found.summary
    crossed = {"B": poor & answers(3, 1000, 0.5)}
    assert barriers("A", models, crossed)
    assert weak("A", models, crossed) == []


def test_noise_is_told_from_a_gain() -> None:
    alone = np.array([False] * 30 + [True] * 70)
    none, says = noise("A", alone, np.array([False] * 10 + [True] * 90), {})
    assert none == []
    assert says == "the average gains 20.00 ± 4.00 points against A alone"
    middles = {"B": alone, "C": np.ones(100, dtype=bool), "D": np.zeros(100, dtype=bool)}
    slight = np.array([True] * 3 + [False] * 27 + [True] * 70)
    (found,), _ = noise("A", alone, slight, middles)
    se = math.sqrt((3 - 9 / 100) / 100 / 100)
    assert found.evidence["se"] == pytest.approx(se)
    assert found.evidence["needed"] == math.ceil(100 * (2 * se / 0.03) ** 2)
    assert "A gains more than noise in 1 of 3 cases" in found.summary


def test_a_soup_that_changes_no_answer_is_noise_and_four_examples_would_not_be() -> None:
    alone = answers(0, 50, 0.5)
    (found,), _ = noise("A", alone, alone, {})
    assert found.evidence["smallest"] == pytest.approx(4 / 50)
    assert found.evidence["needed"] is None
    assert found.strength == 0.5
