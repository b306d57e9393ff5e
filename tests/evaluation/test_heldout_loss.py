"""The held-out loss and its derivatives are those that autograd finds for the model itself."""

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from soup.evaluation.heldout_loss import HeldoutError, HeldoutLoss
from soup.models import ModelError
from soup.recipes.learned import Gradients, Objective

if TYPE_CHECKING:
    from tests.laned import Lanes


class Tied(nn.Module):
    """An embedding that is its own head, as a language model's."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.embed(tokens)))
        return logits


def linear(examples: int = 20, **options: object) -> tuple[HeldoutLoss, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(examples, 4, generator=generator)
    labels = torch.randint(0, 3, (examples,), generator=generator)
    return HeldoutLoss(nn.Linear(4, 3), inputs, labels, **options), inputs, labels  # type: ignore[arg-type]


def test_loss_and_slopes_are_autograds() -> None:
    torch.manual_seed(0)
    model = Tied()
    given = {n: torch.rand_like(t.float()) + 0.5 for n, t in Tied().state_dict().items()}
    given["head.weight"] = given["embed.weight"]
    tokens, labels = torch.arange(5).repeat(4), torch.arange(20) % 5
    objective = HeldoutLoss(model, tokens, labels, checked=0)
    batch = torch.tensor([1, 7, 19])
    slope = objective(given, 1.5, batch)

    learned = ("embed.weight", "norm.weight", "norm.bias")
    leaves = {name: given[name].clone().requires_grad_() for name in learned}
    beta = torch.tensor(1.5, requires_grad=True)
    every = {**given, **leaves, "head.weight": leaves["embed.weight"]}
    outputs = functional_call(Tied().eval(), every, (tokens[batch],))
    loss = F.cross_entropy(beta * outputs, labels[batch])
    loss.backward()
    assert slope.loss == pytest.approx(loss.item(), rel=1e-6)
    assert slope.beta == pytest.approx(beta.grad.item(), rel=1e-5)  # type: ignore[union-attr]
    assert set(slope.weights) == set(learned)
    for name, found in slope.weights.items():
        assert torch.allclose(found, leaves[name].grad, atol=1e-6)  # type: ignore[arg-type]


def test_batches_are_all_but_the_checked_shuffled_anew_in_each_epoch() -> None:
    objective, *_ = linear(checked=0.25, batch_size=4)
    first, second = [list(objective.batches(epoch)) for epoch in (0, 1)]
    seen = torch.cat(first).tolist()
    assert [len(b) for b in first] == [4, 4, 4, 3]
    assert len(set(seen)) == 15
    assert set(torch.cat(second).tolist()) == set(seen)
    assert torch.cat(second).tolist() != seen
    assert [b.tolist() for b in objective.batches(0)] == [b.tolist() for b in first]
    other, *_ = linear(checked=0.25, batch_size=4, seed=1)
    assert set(torch.cat(list(other.batches(0))).tolist()) != set(seen)


def test_the_check_is_the_mean_loss_of_what_is_not_learned_from() -> None:
    objective, inputs, labels = linear(checked=0.35, batch_size=3)
    weights = {"weight": torch.randn(3, 4), "bias": torch.randn(3)}
    learned = torch.cat(list(objective.batches(0))).tolist()
    aside = [index for index in range(20) if index not in learned]
    assert len(aside) == 7
    outputs = 0.7 * (inputs[aside] @ weights["weight"].T + weights["bias"])
    expected = F.cross_entropy(outputs, labels[aside]).item()
    assert objective.check(weights, 0.7) == pytest.approx(expected, rel=1e-6)
    assert linear(checked=0)[0].check(weights, 0.7) is None


def test_examples_are_prepared_on_the_way_and_half_precision_is_widened() -> None:
    inputs = torch.tensor([[0], [255]], dtype=torch.uint8)
    model = nn.Linear(1, 2, bias=False).bfloat16()
    objective = HeldoutLoss(
        model, inputs, torch.tensor([0, 1]), prepare=lambda x: x.bfloat16() / 255, checked=0
    )
    slope = objective({"weight": torch.tensor([[1.0], [2.0]])}, 1.001, torch.tensor([1]))
    # In bfloat16 1.001 is 1.
    assert slope.loss == pytest.approx(np.log1p(np.exp(-1.001)), rel=1e-6)


def test_the_model_is_in_evaluation_mode_and_all_of_it_is_learned() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.9))
    model.requires_grad_(False)
    objective = HeldoutLoss(model, torch.randn(6, 4), torch.zeros(6).long(), checked=0)
    weights = {"0.weight": torch.randn(3, 4), "0.bias": torch.randn(3)}
    one, two = (objective(weights, 1.0, torch.arange(6)) for _ in range(2))
    assert one.loss == two.loss
    assert sorted(one.weights) == ["0.bias", "0.weight"]


def test_with_autocast_the_model_alone_computes_in_half_precision() -> None:
    seen = []
    model = nn.Linear(4, 3)
    model.register_forward_hook(lambda _, inputs, output: seen.append(output.dtype))
    inputs, labels, batch = torch.randn(6, 4), torch.zeros(6).long(), torch.arange(6)
    weights = {"weight": torch.randn(3, 4), "bias": torch.randn(3)}
    half, full = (
        HeldoutLoss(model, inputs, labels, checked=0, autocast=dtype)(weights, 1.0, batch)
        for dtype in (torch.bfloat16, None)
    )
    assert seen == [torch.bfloat16, torch.float32]
    assert half.loss == pytest.approx(full.loss, rel=0.02)
    assert half.loss != full.loss
    assert half.weights["weight"].dtype == torch.float32
    assert torch.allclose(half.weights["weight"], full.weights["weight"], atol=0.02)


def test_it_is_what_a_learned_soup_asks_for() -> None:
    assert isinstance(linear()[0], Objective)


def test_held_out_sets_that_leave_nothing_to_learn_from_are_refused() -> None:
    with pytest.raises(HeldoutError, match="1 of 1 held-out examples are set aside"):
        linear(examples=1, checked=0.9)
    with pytest.raises(HeldoutError, match="3 inputs but 2 labels"):
        HeldoutLoss(nn.Linear(1, 1), torch.ones(3, 1), torch.ones(2))


def test_weights_of_another_model_are_refused() -> None:
    with pytest.raises(ModelError, match="the weights do not fit Linear"):
        linear()[0]({"weight": torch.ones(3, 4)}, 1.0, torch.arange(2))


def network_of() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 5))


def in_parts(lanes: "Lanes", count: int, examples: int = 70) -> tuple[Gradients, Gradients]:
    """The gradients of one batch in parts, and of a model for which it is one part."""
    lanes(count)
    torch.manual_seed(1)
    inputs, labels = torch.randn(examples, 3, 8, 8), torch.randint(0, 5, (examples,))
    batch = torch.randperm(examples)
    given = {name: tensor.clone() for name, tensor in network_of().state_dict().items()}
    objective = HeldoutLoss(network_of(), inputs, labels, checked=0, batch_size=examples)
    whole = HeldoutLoss(network_of(), inputs, labels, checked=0, batch_size=examples)
    size, _ = objective._parts(batch)
    assert size < examples
    whole._parts = lambda batch: (len(batch), 1)  # type: ignore[method-assign]
    return objective(given, 1.2, batch), whole(given, 1.2, batch)


def test_a_batch_in_parts_has_the_gradients_of_the_whole(lanes: "Lanes") -> None:
    found, expected = in_parts(lanes, 2)
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    assert found.beta == pytest.approx(expected.beta, rel=1e-4)
    assert found.weights.keys() == expected.weights.keys()
    for name, gradient in expected.weights.items():
        torch.testing.assert_close(found.weights[name], gradient, rtol=1e-4, atol=1e-6)


def test_gradients_have_the_same_bits_with_any_number_of_lanes(lanes: "Lanes") -> None:
    one, three = in_parts(lanes, 1)[0], in_parts(lanes, 3)[0]
    assert (one.loss, one.beta) == (three.loss, three.beta)
    for name, gradient in one.weights.items():
        assert torch.equal(gradient, three.weights[name])


def test_the_batch_of_a_large_model_is_one_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soup.evaluation.heldout_loss.IN_PARTS", 10)
    objective, *_ = linear(200, checked=0, batch_size=200)
    assert objective._parts(torch.arange(200)) == (200, 1)
    monkeypatch.setattr("soup.evaluation.heldout_loss.IN_PARTS", 1000)
    assert objective._parts(torch.arange(200)) == (50, 3)
