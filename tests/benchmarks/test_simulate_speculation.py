"""The simulated lanes take the times that are counted by hand, and begin what real lanes begin."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from soup.evaluation.judges import ErrorJudge
from soup.recipes.greedy import greedy
from soup.recipes.ingredient import Ingredient
from tests.laned import Lanes, Told, thread_of_batch

EXACT = {"loading": 0, "spread": 0}


@pytest.fixture
def lanes_of() -> Any:
    return importlib.import_module("simulate_speculation")


def step(lanes_of: Any, bound: int, *errors: int) -> Any:
    """A step with 80 examples, so many of the first being errors of each candidate."""
    return lanes_of.Step(bound, [np.arange(80) < count for count in errors])


def test_one_lane_takes_what_is_needed(lanes_of: Any) -> None:
    steps = [step(lanes_of, 36, 80, 30), step(lanes_of, 36, 30)]
    assert lanes_of.simulated(steps, 10, 1, **EXACT) == (4 + 8, 0)


def test_batches_that_are_held_back_save_the_last_round_of_a_rejection(lanes_of: Any) -> None:
    steps = [step(lanes_of, 36, 80)]  # is exceeded by the fourth batch of 10
    assert lanes_of.simulated(steps, 10, 2, held=False, **EXACT) == (2 + 1, 2)
    assert lanes_of.simulated(steps, 10, 2, **EXACT) == (2, 0)


def test_further_judges_use_the_lanes_that_are_left_over(lanes_of: Any) -> None:
    steps = [step(lanes_of, 36, *[80] * (5 - place)) for place in range(5)]
    assert lanes_of.simulated(steps, 10, 8, judges=1, **EXACT) == (5, 5 * 4)
    # The first takes all lanes; then four are known to suffice.
    assert lanes_of.simulated(steps, 10, 8, judges=2, **EXACT) == (1 + 2, 4)


def test_what_was_judged_against_an_old_soup_is_judged_again(lanes_of: Any) -> None:
    steps = [step(lanes_of, 36, 80, 30, 80), step(lanes_of, 36, 30, 80), step(lanes_of, 30, 80)]
    # Four batches of the first and four of the third, beside the second, are in vain.
    assert lanes_of.simulated(steps, 10, 8, judges=2, **EXACT) == (1 + 2 + 1, 8)


class Counted(torch.nn.Module):
    """As many errors as its weight says, of examples that are their own index."""

    def __init__(self) -> None:
        super().__init__()
        self.errors = torch.nn.Parameter(torch.zeros(1))

    def forward(self, indices: torch.Tensor) -> torch.Tensor:
        wrong = indices[:, 0] < self.errors
        return torch.stack([(~wrong).float(), wrong.float()], dim=1)


@pytest.mark.parametrize("count", [2, 3])
def test_a_judge_begins_as_many_batches_as_are_simulated(
    lanes_of: Any, count: int, lanes: Lanes
) -> None:
    lanes(count)
    judged = [(40, 80), (40, 30), (30, 70)]  # bound, errors
    inputs, labels = torch.arange(80.0)[:, None], torch.zeros(80, dtype=torch.long)
    judge = ErrorJudge(Told(Counted()), inputs, labels, batch_size=10, lanes=count)
    judge({"network.errors": torch.zeros(1)})  # finds that lanes are fit
    thread_of_batch.clear()
    for bound, found in judged:
        judge({"network.errors": torch.tensor([float(found)])}, bound)
    needed = sum(judge.examples_seen[1:]) // 10
    steps = [step(lanes_of, bound, found) for bound, found in judged]
    assert lanes_of.simulated(steps, 10, count, **EXACT)[1] == len(thread_of_batch) - needed


def test_the_steps_are_those_of_greedy(
    lanes_of: Any, photographs: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    cache = photographs / "cache"
    make = importlib.import_module("finetunes").make
    make(photographs / "data", photographs / "base", cache, 1, 20, 4)
    start = load_file(cache / "start.safetensors")
    for index in range(6):
        torch.manual_seed(index)
        noisy = {n: t + 0.3 * t.abs().mean() * torch.randn_like(t) for n, t in start.items()}
        save_file(noisy, cache / f"model_{index:02}.safetensors")
    found: list[Any] = []

    def kept(*given: Any) -> Any:
        evaluator, models, tie = given
        steps = steps_of(*given)
        found.append([one.accepted for one in steps])
        labels = evaluator.examples.labels
        (judge,) = evaluator.judges()
        ingredients = [Ingredient(n, m, judge(m) or 0) for n, m in models.items()]
        assert len(labels) == len(steps[0].wrong[0])
        found.append([trial.kept for trial in greedy(ingredients, judge, tie).trace[1:]])
        return steps

    steps_of = lanes_of.steps_of
    monkeypatch.setattr(lanes_of, "steps_of", kept)
    monkeypatch.setattr("sys.argv", ["x", "--made", str(cache), "--models", "6", "--sizes", "4"])
    lanes_of.main()
    assert found[0] == found[1]
    assert any(found[0])
    assert not all(found[0])
    assert "batches of 4: their time" in capsys.readouterr().out
