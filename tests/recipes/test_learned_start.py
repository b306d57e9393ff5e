"""Where the learned soup starts: at equal shares, or at those that the models' answers foretell."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from soup.evaluation.averaged_logits import AveragedLogits
from soup.evaluation.heldout_loss import HeldoutLoss
from soup.recipes.ingredient import Unusable
from soup.recipes.learned import By, Gradients, learn, learned
from soup.weights import Weights
from tests.recipes.objectives import Target, pool


class Foretold:
    """Answers by which the first of two models is best, and beta is 3."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], list[Any]]] = []

    def best_mean(self, names: Sequence[str], batches: Sequence[Any]) -> tuple[Tensor, float]:
        self.asked.append(([*names], [*batches]))
        return torch.tensor([3.0, 1.0], dtype=torch.float64).log(), 3.0


TWO = [{"w": torch.tensor([0.0])}, {"w": torch.tensor([1.0])}]


@pytest.mark.parametrize("by", ["global", "layer", "tensor"])
@pytest.mark.parametrize(
    ("checks", "starts_at"),
    [([0.5, 0.4, 1.0, 1.0], 0.25), ([0.5, 0.6, 1.0, 1.0], 0.5), ([None, None], 0.25)],
)
def test_steps_begin_at_the_shares_of_the_answers_where_these_are_no_worse_than_equal_ones(
    by: By, checks: list[float | None], starts_at: float
) -> None:
    first_step: list[tuple[float, float]] = []

    class Watched(Target):
        def __call__(self, weights: Weights, beta: float, batch: Any) -> Gradients:
            first_step.append((weights["w"].item(), beta))
            return super().__call__(weights, beta, batch)

    answers, objective = Foretold(), Watched({"w": torch.ones(1)}, checks=checks)
    found = learn(pool(TWO), objective, by, epochs=5, answers=answers)
    assert answers.asked == [(["model 0", "model 1"], [0])]  # what is trained on, and no other
    assert first_step[0] == pytest.approx((starts_at, 3.0 if starts_at == 0.25 else 1.0))
    assert [w["w"].item() for w in objective.checked[:2]] == pytest.approx([0.5, 0.25])
    assert list(found.checks) == [check for check in checks if check is not None]
    if found.checks:  # of which no epoch's is lower
        ((share, _),) = [tuple(shares.values()) for shares in found.shares.values()]
        assert share == pytest.approx(1 - starts_at)


def test_a_soup_starts_from_equal_shares_unless_it_is_asked_to_start_from_answers() -> None:
    answers = Foretold()
    learned(pool(TWO), Target({"w": torch.ones(1)}), predictions=answers)
    assert not answers.asked
    soup = learned(pool(TWO), Target({"w": torch.ones(1)}), predictions=answers, start="answers")
    assert answers.asked
    assert soup.shares is not None
    with pytest.raises(Unusable, match="start: answers needs the held-out answers of all models"):
        learned(pool(TWO), Target({"w": torch.ones(1)}), start="answers")
    with pytest.raises(Unusable, match="unknown start 'best'; known: equal"):
        learned(pool(TWO), Target({"w": torch.ones(1)}), start="best")  # type: ignore[arg-type]


def test_the_answers_of_linear_models_give_the_soup_of_the_lowest_loss() -> None:
    """Their logits are linear in the weights, so that the start cannot be improved."""
    torch.manual_seed(0)
    models = [dict(nn.Linear(4, 3).state_dict()) for _ in range(3)]
    inputs, labels = torch.randn(60, 4), torch.randint(0, 3, (60,))
    logits = {
        f"model {index}": functional_call(nn.Linear(4, 3), model, (inputs,)).detach().numpy()
        for index, model in enumerate(models)
    }
    objective = HeldoutLoss(nn.Linear(4, 3), inputs, labels, checked=0.0)
    answers = AveragedLogits(logits, labels.numpy(), lambda _logits, _labels: 0.0)
    at_once = learn(pool(models), objective, "global", epochs=1, answers=answers)
    slowly = learn(pool(models), objective, "global", epochs=400)
    equal = learn(pool(models), objective, "global", epochs=1)
    assert at_once.losses[0] < equal.losses[0] - 0.01
    assert at_once.losses[0] == pytest.approx(slowly.losses[-1], abs=1e-4)
