"""Figures against slow definitions: enumerations, sums of binomials, torchmetrics."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
)

from soup.evaluation import metrics
from soup.evaluation.metrics import (
    accuracy_interval,
    bootstrap,
    correct,
    mcnemar,
    permutation,
    predicted,
    score,
)
from tests import reference
from tests.strategies import seeds


def scores(seed: int, n: int = 200, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels that agree more often than not; some logits are there twice."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    logits = rng.normal(size=(n, classes)) + 2 * np.eye(classes)[labels]
    again = rng.integers(n, size=n)
    agree = rng.random(n) < 0.7
    return logits[again], np.where(agree, labels[again], labels)


def pair(only_a: int, only_b: int, both: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Two models' answers on the same examples, with so many right for either alone."""
    counts = [only_a, only_b, both, neither]
    return (
        np.repeat([True, False, True, False], counts),
        np.repeat([False, True, True, False], counts),
    )


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_and_likelihood_are_those_of_torch(seed: int) -> None:
    logits, labels = scores(seed)
    x, y = torch.from_numpy(logits), torch.from_numpy(labels)
    accuracy = float(multiclass_accuracy(x, y, num_classes=4, average="micro"))
    assert correct(logits, labels).mean() == pytest.approx(accuracy)
    assert score(logits, labels).nll == pytest.approx(
        float(torch.nn.functional.cross_entropy(x, y))
    )


def test_an_example_with_a_nan_among_its_logits_is_wrong() -> None:
    logits = np.array([[math.nan, 0.0], [0.0, math.nan], [1.0, 0.0], [0.0, math.inf]])
    assert correct(logits, np.array([0, 0, 0, 1])).tolist() == [False, False, True, True]


INF = math.inf


@pytest.mark.parametrize(
    ("row", "shares"),
    [
        ([0.0, INF, 1.0], [0, 1, 0]),
        ([INF, 3.0, INF], [0.5, 0, 0.5]),
        ([0.0, -INF, 0.0], [0.5, 0, 0.5]),
        ([-INF, -INF, 7.0], [0, 0, 1]),
        ([INF, -INF, 0.0], [1, 0, 0]),
        ([-INF, -INF, -INF], None),
        ([math.nan, 0.0, INF], None),
    ],
)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_infinite_logits_have_the_likelihood_of_their_limit(
    row: list[float], shares: list[float] | None, dtype: type
) -> None:
    for label in range(3):
        found = score(np.array([row], dtype), np.array([label]), bins=1)
        if shares is None:
            assert predicted(np.array([row], dtype)).tolist() == [-1]
            assert not found.right[0]
            assert math.isnan(found.nll)
            assert math.isnan(found.ece)
            continue
        top = shares.index(max(shares))
        assert found.right.tolist() == [label == top]
        assert found.nll == (-math.log(shares[label]) if shares[label] else INF)
        assert found.ece == pytest.approx(abs(max(shares) - (label == top)))


def test_no_examples_have_no_score() -> None:
    none = score(np.zeros((0, 3)), np.zeros(0, np.int64))
    assert (len(none.right), math.isnan(none.nll), math.isnan(none.ece)) == (0, True, True)
    some, empty = np.ones(3, bool), np.ones(0, bool)
    assert math.isnan(bootstrap([np.ones(3), np.ones(0)], 10, 0.9, seed=0).low)
    assert math.isnan(accuracy_interval([some, empty], 10, 0.9, seed=0).high)
    assert math.isnan(permutation([some, empty], [some, empty]))
    assert mcnemar(empty, empty) == 1


@pytest.mark.parametrize("n", [1, 2, 20, 500])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_examples_that_are_all_right_do_not_make_an_accuracy_certain(
    n: int, confidence: float
) -> None:
    tail = (1 - confidence) / 2
    right = np.ones(n, bool)
    low, high = accuracy_interval([right], 50, confidence, seed=0)
    # Clopper and Pearson: with this accuracy, so many right answers are as rare as the tail.
    assert (low**n, high) == (pytest.approx(tail), 1)
    low, high = accuracy_interval([~right], 50, confidence, seed=0)
    assert (low, (1 - high) ** n) == (0, pytest.approx(tail))
    low, high = accuracy_interval([right, right], 50, confidence, seed=0)
    assert (low ** (2 * n), high) == (pytest.approx(tail), 1)
    mixed = np.arange(n + 1) > 0
    expected = bootstrap([mixed.astype(float)], 50, confidence, seed=0)
    assert accuracy_interval([mixed], 50, confidence, seed=0) == expected


def test_large_logits_do_not_overflow_the_likelihood() -> None:
    assert score(np.array([[1000.0, 0.0]], dtype=np.float32), np.array([1])).nll == 1000


@given(seed=seeds, n=st.integers(1, 60), bins=st.integers(1, 20))
def test_calibration_is_that_of_equal_mass_bins(seed: int, n: int, bins: int) -> None:
    logits, labels = scores(seed, n)
    expected = reference.equal_mass_ece(logits, labels, bins)
    assert score(logits, labels, bins).ece == pytest.approx(expected, abs=1e-12)


def test_calibration_in_one_bin_is_that_of_torchmetrics() -> None:
    # With more bins torchmetrics cuts the confidences at equal widths, not at equal masses.
    logits, labels = scores(1)
    expected = multiclass_calibration_error(
        torch.from_numpy(logits).softmax(1), torch.from_numpy(labels), num_classes=4, n_bins=1
    )
    assert score(logits, labels, 1).ece == pytest.approx(float(expected))


def test_examples_are_scored_part_by_part_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = scores(0)
    whole = score(logits, labels)
    monkeypatch.setattr(metrics, "ROWS", 7)
    parts = score(logits, labels)
    assert (parts.nll, parts.ece) == (whole.nll, whole.ece)
    np.testing.assert_array_equal(parts.right, correct(logits, labels))


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.9])
@pytest.mark.parametrize(
    "groups",
    [[[1, 1, 0, -1, 0.5]], [[1, 0, 0, 1], [0, -1, 1]], [[1, 0, 0, 1], [1, 0, 0, 1]]],
    ids=["one set", "two shifts", "two that are alike"],
)
def test_the_interval_is_that_of_all_resamples(
    groups: list[list[float]], confidence: float
) -> None:
    resampled = [[sum(r) / len(g) for r in itertools.product(g, repeat=len(g))] for g in groups]
    means = np.array([sum(each) / len(groups) for each in itertools.product(*resampled)])
    found = bootstrap([np.array(g, dtype=float) for g in groups], 40_000, confidence, seed=0)
    for bound, tail in zip(found, [(1 - confidence) / 2, (1 + confidence) / 2], strict=True):
        below, up_to = (means < bound - 1e-9).mean(), (means < bound + 1e-9).mean()
        assert below - 0.01 < tail < up_to + 0.01


def test_the_interval_is_drawn_by_its_seed() -> None:
    groups = [np.random.default_rng(0).normal(size=50)]
    assert bootstrap(groups, 100, 0.9, seed=1) == bootstrap(groups, 100, 0.9, seed=1)
    assert bootstrap(groups, 100, 0.9, seed=1) != bootstrap(groups, 100, 0.9, seed=2)


@given(*[st.integers(0, 30)] * 4)
def test_mcnemar_is_an_exact_sum_of_binomials(a: int, b: int, both: int, neither: int) -> None:
    assert mcnemar(*pair(a, b, both, neither)) == pytest.approx(reference.mcnemar(a, b))


@pytest.mark.parametrize(
    "groups",
    [[(5, 0, 3, 3)], [(3, 3, 1, 0)], [(4, 1, 10, 2), (0, 3, 0, 1)], [(3, 0, 1, 0), (3, 1, 90, 9)]],
)
def test_permutation_is_that_of_all_ways_to_swap(groups: list[tuple[int, int, int, int]]) -> None:
    pairs = [pair(*group) for group in groups]
    steps = [
        (int(x) - int(y)) / len(a) for a, b in pairs for x, y in zip(a, b, strict=True) if x != y
    ]
    swaps = list(itertools.product([1, -1], repeat=len(steps)))
    sums = [abs(math.fsum(s * x for s, x in zip(signs, steps, strict=True))) for signs in swaps]
    exact = sum(total >= abs(math.fsum(steps)) - 1e-9 for total in sums) / len(swaps)
    found = permutation([a for a, _ in pairs], [b for _, b in pairs], draws=40_000, seed=0)
    assert found == pytest.approx(exact, abs=0.01)


def test_a_permutation_test_never_claims_certainty() -> None:
    a, b = np.ones(500, bool), np.zeros(500, bool)
    assert permutation([a], [b], draws=99) == 1 / 100
    assert permutation([a], [a], draws=99) == 1
