"""The cost along a line, where it can be worked out by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor

from soup.evaluation.diagnosis.barrier import Line, line
from soup.weights import Weights

A = {"x": torch.tensor([0.1, 3.0]), "steps": torch.tensor(7)}
B = {"x": torch.tensor([2.1, 7.0]), "steps": torch.tensor(9)}


def first_squared(weights: Weights, at_most: float | None = None) -> float:
    assert at_most is None
    return float(weights["x"][0]) ** 2


def test_costs_are_those_of_the_models_in_between() -> None:
    found = line(A, B, first_squared, points=5)
    assert found.positions.tolist() == [0, 0.25, 0.5, 0.75, 1]
    expected = [(0.1 + 2 * t) ** 2 for t in found.positions]
    assert found.costs == pytest.approx(expected, rel=1e-5)
    assert found.barrier == 0


def test_the_ends_are_the_models_themselves() -> None:
    seen: list[Weights] = []

    def judge(weights: Weights, at_most: float | None = None) -> int:
        seen.append(weights)
        return 1

    line(A, B, judge, points=3)
    for end, model in ((seen[0], A), (seen[-1], B)):
        assert torch.equal(end["x"], model["x"])


def test_the_barrier_is_the_rise_above_the_straight_line_between_the_ends() -> None:
    places = np.array([0, 0.25, 0.5, 1])
    assert Line(places, np.array([10.0, 12.0, 17.0, 20.0])).barrier == pytest.approx(2)
    assert Line(places, np.array([10.0, 30.0, 17.0, 20.0])).barrier == pytest.approx(17.5)
    assert Line(places, np.array([10.0, 3.0, 4.0, 20.0])).barrier == 0


def test_a_network_with_its_units_in_another_order_is_behind_a_barrier() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(200, 8, generator=generator)
    one = {
        "a": torch.randn(16, 8, generator=generator),
        "b": torch.randn(3, 16, generator=generator),
    }
    order = torch.randperm(16, generator=generator)
    other = {"a": one["a"][order], "b": one["b"][:, order]}

    def answers(weights: Weights) -> Tensor:
        return ((inputs @ weights["a"].T).relu() @ weights["b"].T).argmax(dim=1)

    labels = answers(one)

    def judge(weights: Weights, at_most: float | None = None) -> int:
        return int((answers(weights) != labels).sum())

    found = line(one, other, judge)
    assert found.costs[0] == found.costs[-1] == 0
    assert found.barrier > 30


def test_a_line_needs_two_points_and_a_judge_that_answers() -> None:
    with pytest.raises(ValueError, match="2 points"):
        line(A, B, first_squared, points=1)
    with pytest.raises(ValueError, match="no cost"):
        line(A, B, lambda weights, at_most=None: None)
