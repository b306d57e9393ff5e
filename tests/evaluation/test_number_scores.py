"""Correlations, their intervals and tests, and the bounds by which judges stop early."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from soup.evaluation import ensemble
from soup.evaluation.judges import ScoreJudge
from soup.evaluation.number_scores import (
    MEASURE,
    NUMBER_SCORES,
    Numbers,
    compare,
    interval,
    pearson,
    spearman,
    value,
)

GLUE = NUMBER_SCORES[MEASURE]


def cost(name: str, outputs: np.ndarray, labels: np.ndarray) -> float:
    return NUMBER_SCORES[name](torch.from_numpy(outputs)[:, None], torch.from_numpy(labels))


@pytest.mark.parametrize("seed", range(5))
def test_the_correlations_are_those_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, 40) / 5
    outputs = np.round(labels + rng.normal(size=40), seed % 3)  # with ties
    assert pearson(outputs, labels) == pytest.approx(stats.pearsonr(outputs, labels).statistic)
    assert spearman(outputs, labels) == pytest.approx(stats.spearmanr(outputs, labels).statistic)
    both = (pearson(outputs, labels) + spearman(outputs, labels)) / 2
    assert cost(MEASURE, outputs, labels) == pytest.approx(1 - both)
    several = GLUE.scores(np.stack([outputs, -outputs]), np.stack([labels, labels]))
    assert several == pytest.approx([both, -both])


def test_constant_outputs_correlate_with_nothing_and_broken_ones_with_nan() -> None:
    labels = np.arange(5.0)
    assert cost(MEASURE, np.full(5, 0.1), labels) == 1
    assert np.isnan(cost(MEASURE, np.array([1, 2, np.nan, 3, 4]), labels))
    assert np.isnan(cost("spearman", np.array([1, 2, np.inf, 3, 4]), labels))


@pytest.mark.parametrize("name", NUMBER_SCORES)
@pytest.mark.parametrize("seed", range(8))
def test_no_completion_is_better_than_the_bound(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 6).astype(float)
    outputs = np.round(labels * rng.choice([-1, 1]) + rng.normal(scale=1.5, size=6))
    score = NUMBER_SCORES[name]
    for count in (1, 3, 4, 5):
        seen = rng.permutation(6)[:count]
        rest = [i for i in range(6) if i not in seen]
        bound = score.least(
            torch.from_numpy(outputs[seen])[:, None],
            torch.from_numpy(seen),
            torch.from_numpy(labels),
        )
        grid = np.linspace(-4, 6, 7 if len(rest) > 3 else 13)
        fillings = np.array([*itertools.product(grid, repeat=len(rest))])
        whole = np.tile(outputs, (len(fillings), 1))
        whole[:, rest] = fillings
        best = 1 - score.scores(whole, np.broadcast_to(labels, whole.shape)).max()
        assert bound <= best + 1e-9


def test_the_bound_of_pearson_is_reached() -> None:
    rng = np.random.default_rng(0)
    labels = rng.normal(size=8)
    outputs = labels + rng.normal(size=8)
    seen = np.arange(5)
    slope, intercept = np.polyfit(outputs[seen], labels[seen], 1)
    outputs[5:] = (labels[5:] - intercept) / slope  # on the line of those seen
    bound = NUMBER_SCORES["pearson"].least(
        torch.from_numpy(outputs[seen])[:, None], torch.from_numpy(seen), torch.from_numpy(labels)
    )
    assert bound == pytest.approx(cost("pearson", outputs, labels))


class Scaled(nn.Module):
    """Outputs in a table, which are the weights."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(count, 1))

    def forward(self, indices: torch.Tensor) -> torch.Tensor:
        return self.table[indices]


def test_early_rejection_decides_as_a_full_pass_and_saves_passes() -> None:
    rng = np.random.default_rng(0)
    count = 300
    labels = torch.from_numpy(rng.uniform(0, 5, count).astype(np.float32))
    judge = ScoreJudge(Scaled(count), torch.arange(count), labels, GLUE, batch_size=10)
    early = 0
    for scale in (0.5, 1.0, 2.0, 4.0):
        weights = {"table": (labels + scale * torch.randn(count))[:, None]}
        whole = judge(weights)
        assert whole is not None
        for at_most in (whole - 0.1, whole, whole + 0.01, 0.2):
            found = judge(weights, at_most)
            assert found == (whole if whole <= at_most else None)
            early += found is None and judge.examples_seen[-1] < count
    assert early > 3


def test_the_interval_holds_the_score_and_widens_with_fewer_examples() -> None:
    rng = np.random.default_rng(1)
    labels = rng.normal(size=400)
    outputs = labels + rng.normal(size=400)
    groups = [Numbers(labels, outputs)]
    low, high = interval(GLUE, groups, 300, 0.95, 0)
    assert low < value(GLUE, groups) < high
    fisher = 2 * 1.96 / np.sqrt(397) * (1 - pearson(outputs, labels) ** 2)  # its normal formula
    assert high - low == pytest.approx(fisher, rel=0.25)
    few = interval(GLUE, [Numbers(labels[:40], outputs[:40])], 300, 0.95, 0)
    assert few.high - few.low > 2 * (high - low)


def test_the_permutation_test_finds_a_better_model_and_no_difference_in_noise() -> None:
    rng = np.random.default_rng(2)
    labels = rng.normal(size=200)
    good, bad = (Numbers(labels, labels + s * rng.normal(size=200)) for s in (0.5, 1.5))
    found = compare(GLUE, [good], [bad], 200, 0.95, 0, draws=500)
    assert found.p_value < 0.01
    assert found.interval.low > 0
    assert found.difference == pytest.approx(value(GLUE, [good]) - value(GLUE, [bad]))
    ps = [
        compare(
            GLUE, *([Numbers(labels, labels + rng.normal(size=200))] for _ in "ab"),
            resamples=10, confidence=0.95, seed=0, draws=200,
        ).p_value
        for _ in range(40)
    ]  # fmt: skip
    assert sum(p < 0.1 for p in ps) < 12
    same = compare(GLUE, [good], [good], 50, 0.95, 0, draws=100)
    assert same.difference == 0
    assert same.p_value == 1


def test_the_greedy_ensemble_of_numbers_keeps_what_raises_the_score() -> None:
    rng = np.random.default_rng(3)
    labels = rng.uniform(0, 5, 100)
    noise = rng.normal(size=100)
    models = [
        (labels + 0.9 * noise)[:, None],
        (labels + 3 * noise)[:, None],
        (labels - noise)[:, None],
    ]
    assert ensemble.greedy(models, labels, GLUE) == [0, 2]
