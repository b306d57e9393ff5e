"""Intervals and tests of scores of counts, against drawing examples one by one."""

import tracemalloc

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score, matthews_corrcoef

from soup.evaluation.count_tests import Answers, compare, interval, value
from soup.evaluation.scores import ConfusionScore, macro_f1, matthews

ACCURACY = ConfusionScore(lambda m: 1 - m.right.sum(-1) / m.labels.sum(-1))


def model(seed: int, n: int = 120, classes: int = 2, right: float = 0.75) -> Answers:
    rng = np.random.default_rng(7)
    labels = rng.integers(classes, size=n)
    rng = np.random.default_rng(seed)
    others = rng.integers(classes, size=n)
    return Answers(labels, np.where(rng.random(n) < right, labels, others))


@pytest.mark.parametrize(
    ("score", "known"),
    [
        (matthews, matthews_corrcoef),
        (macro_f1, lambda labels, answers: f1_score(labels, answers, average="macro")),
    ],
)
def test_a_value_is_scikit_learns_mean_over_groups(score: ConfusionScore, known: object) -> None:
    groups = [model(1, classes=3), model(2, classes=3)]
    wanted = np.mean([known(*group) for group in groups])  # type: ignore[operator]
    assert value(score, groups, 3) == pytest.approx(wanted)


def matthews_of_two(labels: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Of each row: of two classes it is the correlation of labels and answers."""
    x, y = (values - values.mean(-1, keepdims=True) for values in (labels, answers))
    return (x * y).sum(-1) / np.sqrt((x * x).sum(-1) * (y * y).sum(-1))


def test_what_intervals_and_tests_are_compared_with_is_scikit_learns() -> None:
    rows = [model(seed) for seed in range(5)]
    wanted = [matthews_corrcoef(*row) for row in rows]
    found = matthews_of_two(*(np.stack(values) for values in zip(*rows, strict=True)))
    assert found == pytest.approx(wanted)


def test_the_interval_is_that_of_resampled_examples() -> None:
    answers = model(1)
    rng = np.random.default_rng(3)
    chosen = rng.integers(120, size=(3000, 120))
    drawn = matthews_of_two(answers.labels[chosen], answers.answers[chosen])
    wanted = np.quantile(drawn, [0.025, 0.975])
    assert interval(matthews, [answers], 2, 3000, 0.95, 0) == pytest.approx(wanted, abs=0.03)


def test_the_permutation_test_is_that_of_swapped_answers() -> None:
    a, b = model(1, right=0.8), model(2, right=0.7)
    observed = matthews_corrcoef(*a) - matthews_corrcoef(*b)
    rng = np.random.default_rng(3)
    swap = rng.random((3000, 120)) < 0.5
    x, y = np.where(swap, b.answers, a.answers), np.where(swap, a.answers, b.answers)
    swapped = matthews_of_two(a.labels, x) - matthews_of_two(a.labels, y)
    extreme = (abs(swapped) >= abs(observed) - 1e-12).sum()
    made = compare(matthews, [a], [b], 2, 1000, 0.95, 0)
    assert made.difference == pytest.approx(observed)
    assert made.p_value == pytest.approx(extreme / 3000, abs=0.03)
    assert made.interval.low < observed < made.interval.high


def test_of_accuracy_the_test_is_mcnemars() -> None:
    a, b = model(1, right=0.9), model(2, right=0.6)
    only_a = int(((a.answers == a.labels) & (b.answers != b.labels)).sum())
    only_b = int(((a.answers != a.labels) & (b.answers == b.labels)).sum())
    exact = binomtest(only_a, only_a + only_b, 0.5).pvalue
    made = compare(ACCURACY, [a], [b], 2, 1000, 0.95, 0, draws=40_000)
    assert made.p_value == pytest.approx(exact, abs=0.01)


def test_models_that_answer_alike_do_not_differ() -> None:
    same = compare(matthews, [model(1)], [model(1)], 2, 200, 0.95, 0)
    assert (same.difference, same.p_value) == (0.0, 1.0)
    assert same.interval == (0.0, 0.0)


def test_no_examples_give_no_interval() -> None:
    none = Answers(np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert np.isnan(interval(matthews, [none], 2, 10, 0.95, 0)).all()


def test_a_model_without_a_prediction_is_wrong_there() -> None:
    undecided = Answers(np.array([0, 1, 0, 1]), np.array([0, -1, -1, 1]))
    assert value(ACCURACY, [undecided], 2) == 0.5


def test_memory_grows_with_the_examples_and_not_with_the_classes() -> None:
    """Counts by label and both answers would be 8 GB for each draw."""
    a, b = (model(seed, n=400, classes=1000) for seed in (1, 2))
    tracemalloc.start()
    made = compare(macro_f1, [a], [b], 1000, 300, 0.95, 0, draws=300)
    interval(macro_f1, [a], 1000, 300, 0.95, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0 < made.p_value <= 1
    assert peak < 100e6
