"""The best weighted mean of logits, which learned soups may start from."""

from unittest.mock import patch

import numpy as np
import pytest
import torch

from soup.evaluation import averaged_logits
from soup.evaluation.averaged_logits import AveragedLogits


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_the_best_mean_is_that_of_a_search_among_all_means_of_two(kind: str) -> None:
    rng = np.random.default_rng(1)
    numbers = kind == "numbers"
    labels = rng.normal(size=40) if numbers else rng.integers(0, 3, 40)
    logits = {name: rng.normal(size=(40, 1 if numbers else 3)) for name in "ab"}
    if numbers:
        logits["a"][:, 0] += 0.5 * labels
        logits["b"][:, 0] += 0.7 * labels
    else:
        logits["a"][range(40), labels] += 0.5
        logits["b"][range(40), labels] += 0.7
    among = rng.permutation(40)[:30]
    for name in "ab":  # those that are not fitted say something else
        logits[name][np.setdiff1d(range(40), among)] = 1e3 if name == "a" else -1e3
    found = AveragedLogits(logits, labels, lambda _logits, _labels: 0.0)
    batches = torch.from_numpy(among).split(16)
    logarithms, beta = found.best_mean(["a", "b"], batches)
    share_of_a = float(logarithms.softmax(0)[0])

    def cost(share: float, beta: float) -> float:
        mean = torch.from_numpy(share * logits["a"] + (1 - share) * logits["b"])[among]
        true = torch.from_numpy(labels)[among]
        if numbers:
            return float((mean[:, 0] - true).square().mean())
        return float(torch.nn.functional.cross_entropy(beta * mean, true))

    betas = [1.0] if numbers else np.linspace(0.2, 2, 91)
    lowest = min(cost(share, b) for share in np.linspace(0, 1, 101) for b in betas)
    assert cost(share_of_a, beta) == pytest.approx(lowest, abs=1e-3)
    assert cost(share_of_a, beta) <= lowest + 1e-6
    assert beta == 1 if numbers else beta != 1


def test_of_many_answers_as_many_are_fitted_as_memory_is_given_for() -> None:
    logits = {"a": np.array([[4.0, 0], [0, 4]] * 10), "b": np.array([[0.0, 4], [4, 0]] * 10)}
    labels = np.array([0, 1] * 2 + [1, 0] * 8)  # the first four are right by a, the others by b
    found = AveragedLogits(logits, labels, lambda _logits, _labels: 0.0)
    batches = [torch.arange(4), torch.arange(4, 20)]
    with patch.object(averaged_logits, "MOST", 4 * 4):
        assert found.best_mean(["a", "b"], batches)[0].softmax(0)[0] > 0.9
    assert found.best_mean(["a", "b"], batches)[0].softmax(0)[0] < 0.5


def test_the_best_mean_is_searched_in_one_thread() -> None:
    logits = {name: np.eye(3)[[0, 1, 2, 0]] * (index + 1) for index, name in enumerate("ab")}
    found = AveragedLogits(logits, np.array([0, 1, 2, 1]), lambda _logits, _labels: 0.0)
    threads: list[int] = []

    def product(*arguments: torch.Tensor) -> torch.Tensor:
        threads.append(torch.get_num_threads())
        return multiply(*arguments)

    multiply, before = torch.mv, torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with patch.object(torch, "mv", product):
            found.best_mean(["a", "b"], [torch.arange(4)])
    finally:
        torch.set_num_threads(before)
    assert {*threads} == {1}
