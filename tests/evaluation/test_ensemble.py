"""Ensembles of logits: the mean, and Recipe 1 over means."""

import numpy as np
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
