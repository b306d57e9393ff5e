"""Ensembles of logits: the mean, and Recipe 1 over means."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soup.evaluation import ensemble
from soup.evaluation.metrics import correct
from tests import reference
from tests.strategies import seeds


@given(seed=seeds, models=st.integers(1, 7), examples=st.integers(1, 20))
def test_the_greedy_ensemble_is_recipe_1(seed: int, models: int, examples: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=examples)
    drawn = [rng.normal(size=(examples, 3)) + np.eye(3)[labels] for _ in range(models)]
    logits = sorted(drawn, key=lambda own: -correct(own, labels).sum())
    assert ensemble.greedy(iter(logits), labels) == reference.greedy_ensemble(logits, labels)


def test_an_equal_score_is_kept_and_a_worse_one_is_not() -> None:
    logits = np.eye(3)
    assert ensemble.greedy([logits, logits, -3 * logits], np.arange(3)) == [0, 1]


def test_a_model_that_diverged_is_not_in_the_ensemble() -> None:
    good, diverged = np.eye(3), np.full((3, 3), np.nan)
    assert ensemble.greedy([good, diverged], np.arange(3)) == [0]


def mean(logits: list[np.ndarray]) -> np.ndarray:
    total = ensemble.LogitSum()
    for own in logits:
        total.add(own)
    return total.mean()


def test_the_mean_of_float32_logits_is_taken_in_float64() -> None:
    logits = [np.array([[value]], dtype=np.float32) for value in (1e8, 1.0, -1e8)]
    assert mean(logits) == 1 / 3


@given(seed=seeds, models=st.integers(1, 80))
def test_the_mean_of_float16_logits_does_not_depend_on_their_order(seed: int, models: int) -> None:
    rng = np.random.default_rng(seed)
    logits = [
        (10.0 ** rng.uniform(-8, 4) * rng.normal(size=(4, 3))).astype(np.float16)
        for _ in range(models)
    ]
    before = [own.copy() for own in logits]
    np.testing.assert_array_equal(mean(logits), mean(logits[::-1]))
    np.testing.assert_array_equal(logits, before)


def test_an_ensemble_of_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs a model"):
        ensemble.LogitSum().mean()
