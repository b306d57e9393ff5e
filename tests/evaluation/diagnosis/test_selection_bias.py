"""Gains against sums in Python; biases against the truth of worlds made for it."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from soup.evaluation.diagnosis.selection_bias import Bias, best_of, gains, paired, split_bias
from soup.recipes.greedy import greedy
from soup.recipes.ingredient import Ingredient, Soup
from soup.recipes.judge import Judge
from soup.weights import Weights
from tests import reference


def answers(values: Sequence[int]) -> np.ndarray:
    return np.array(values, dtype=bool)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_gain_and_standard_error_are_the_paired_ones(pairs: list[tuple[bool, bool]]) -> None:
    before, after = (answers(column) for column in zip(*pairs, strict=True))
    found = paired(before, after)
    differences = [int(b) - int(a) for a, b in pairs]
    mean = sum(differences) / len(pairs)
    variance = sum((d - mean) ** 2 for d in differences) / len(pairs)
    assert found.gain == pytest.approx(mean)
    assert found.se == pytest.approx(math.sqrt(variance / len(pairs)))
    assert found.p == pytest.approx(reference.mcnemar(differences.count(-1), differences.count(1)))


def test_a_gain_within_noise_says_so() -> None:
    before = answers([0] * 20 + [1] * 80)
    three, nine = (answers([1] * more + [0] * (20 - more) + [1] * 80) for more in (3, 9))
    assert paired(before, three).within_noise
    assert not paired(before, three, factor=1.5).within_noise
    assert not paired(before, nine).within_noise
    assert not paired(nine, before).within_noise
    assert paired(before, before) == (0, 0, 1, True)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_few_examples_that_all_change_alike_show_nothing(n: int) -> None:
    # McNemar's exact p is 1, 1/2 and 1/4, though no standard error is left.
    found = paired(answers([0] * n), answers([1] * n))
    assert (found.gain, found.se, found.within_noise) == (1, 0, True)
    assert not paired(answers([0] * 9), answers([1] * 9)).within_noise


def test_each_acceptance_is_held_against_the_soup_before_it() -> None:
    first, second, third = answers([1, 0, 0, 0]), answers([1, 1, 1, 0]), answers([0, 1, 1, 0])
    assert gains([first, second, third]) == [paired(first, second), paired(second, third)]
    assert gains([first]) == []


def exam(rng: np.random.Generator, models: int, examples: int, spread: float) -> tuple:
    """Answers of models to the same, more or less hard examples; and their true accuracies."""
    skill = 1 + spread * rng.normal(size=models)
    luck = rng.normal(size=(models, examples))
    hard = rng.normal(size=examples)
    right = skill[:, None] > math.sqrt(0.8) * hard + math.sqrt(0.2) * luck
    return right, norm.cdf(skill)


@pytest.mark.parametrize(("models", "spread"), [(8, 0.0), (8, 0.03), (24, 0.0), (8, 0.3)])
def test_the_bias_of_the_best_of_many_is_found(models: int, spread: float) -> None:
    rng = np.random.default_rng(0)
    apparent, honest, true = [], [], []
    for _ in range(200):
        right, accuracy = exam(rng, models, 300, spread)
        found = best_of(right, resamples=200)
        apparent.append(found.apparent - accuracy[right.mean(axis=1).argmax()])
        honest.append(found.honest - accuracy[right.mean(axis=1).argmax()])
        true.append(found.apparent == right.mean(axis=1).max())
    assert all(true)
    flattery, left = np.mean(apparent), np.mean(honest)
    assert abs(left) < 0.25 * abs(flattery) + 3 * np.std(honest) / math.sqrt(200)
    # The plain bootstrap, and no correction at all, would not pass.
    if spread == 0:
        assert flattery > 0.01
        assert abs(left) < 0.006


def test_one_model_is_not_selected() -> None:
    assert best_of(np.array([[True, False, True, True]])) == Bias(0.75, 0)


def test_the_bias_of_equal_answers_is_none() -> None:
    same = np.repeat(np.array([[True, False, True, True]]), 5, axis=0)
    assert best_of(same).bias == pytest.approx(0, abs=0.03)


class World:
    """A linear task with wrong labels: held-out examples, models near the truth, and the truth."""

    def __init__(self, rng: np.random.Generator, noise: np.ndarray, examples: int) -> None:
        teacher = rng.normal(size=(5, 8))
        self.inputs, self.labels = self._draw(rng, teacher, examples)
        self.many, self.truth = self._draw(rng, teacher, 5000)
        models = teacher + noise[:, None, None] * rng.normal(size=(len(noise), 5, 8))
        self.models = [{"w": torch.from_numpy(model)} for model in models]
        self.correct = {f"{i}": self.right(model) for i, model in enumerate(self.models)}
        self.ingredients = [
            Ingredient(f"{i}", model, int((~self.correct[f"{i}"]).sum()))
            for i, model in enumerate(self.models)
        ]

    @staticmethod
    def _draw(
        rng: np.random.Generator, teacher: np.ndarray, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        inputs = rng.normal(size=(count, 8))
        labels = (inputs @ teacher.T).argmax(axis=1)
        return inputs, np.where(rng.random(count) < 0.1, rng.integers(0, 5, count), labels)

    def right(self, weights: Weights) -> np.ndarray:
        return (self.inputs @ weights["w"].numpy().T).argmax(axis=1) == self.labels

    def accuracy(self, weights: Weights) -> float:
        return float(((self.many @ weights["w"].numpy().T).argmax(axis=1) == self.truth).mean())

    def judge_on(self, indices: np.ndarray) -> Judge:
        def judge(weights: Weights, at_most: float | None = None) -> int:
            return int((~self.right(weights)[indices]).sum())

        return judge

    def cook(self) -> Soup:
        return greedy(self.ingredients, self.judge_on(np.arange(len(self.labels))))


@pytest.mark.parametrize("alike", [True, False])
def test_the_bias_of_a_greedy_soup_is_found(alike: bool) -> None:
    rng = np.random.default_rng(1)
    rounds, apparent, left = 300, [], []
    for _ in range(rounds):
        noise = np.full(12, 0.03) if alike else 0.3 * np.exp(rng.normal(size=8))
        world = World(rng, noise, 200)
        soup = world.cook()
        found = split_bias(soup, world.ingredients, world.correct, world.judge_on, splits=1)
        best = min(world.ingredients, key=lambda one: one.errors)
        ours = world.accuracy(soup.weights)
        true = np.array([ours - world.accuracy(best.weights), ours])
        apparent.append(np.array([found.gain.apparent, found.accuracy.apparent]) - true)
        left.append(np.array([found.gain.honest, found.accuracy.honest]) - true)
        assert found.accuracy.apparent == pytest.approx(world.right(soup.weights).mean())
        assert found.gain.apparent == pytest.approx(
            world.right(soup.weights).mean() - world.correct[best.name].mean()
        )
    before, after = np.mean(apparent, axis=0), np.mean(left, axis=0)
    error = np.std(left, axis=0) / math.sqrt(rounds)
    assert (np.abs(after) < 3 * error + 0.002).all()
    # There was something to find, and it was not zero minus zero.
    assert (np.abs(before) > 3 * np.std(apparent, axis=0) / math.sqrt(rounds)).all()
    assert (np.abs(after) < 0.6 * np.abs(before)).all()


def test_the_same_seed_splits_alike() -> None:
    world = World(np.random.default_rng(0), np.full(4, 0.2), 60)
    once, again, other = (
        split_bias(world.cook(), world.ingredients, world.correct, world.judge_on, 2, seed)
        for seed in (0, 0, 1)
    )
    assert once == again
    assert once != other


def test_what_is_not_known_cannot_be_split() -> None:
    world = World(np.random.default_rng(0), np.full(3, 0.2), 60)
    soup = world.cook()
    with pytest.raises(ValueError, match="answers of 0, 1, 2"):
        split_bias(soup, world.ingredients, {}, world.judge_on)
    blind = Soup(soup.weights, soup.kept, None, soup.trace)
    with pytest.raises(ValueError, match="of the soup"):
        split_bias(blind, world.ingredients, world.correct, world.judge_on)
    lone = {name: one[:1] for name, one in world.correct.items()}
    with pytest.raises(ValueError, match="cannot be split"):
        split_bias(soup, world.ingredients, lone, world.judge_on)
