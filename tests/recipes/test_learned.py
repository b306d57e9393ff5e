"""The learned soup follows autograd's gradient through the explicit sum, in small memory."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from soup.evaluation.heldout_loss import HeldoutLoss
from soup.recipes.ingredient import Unusable
from soup.recipes.learned import By, layer_of, learn, learned
from soup.weights import NotFinite, Weights
from soup.weights.checkpoint import Checkpoint, save
from tests.recipes.objectives import Model, Target, floats, network, networks, pool
from tests.strategies import NAN, alike, seeds

KINDS: tuple[By, ...] = ("global", "layer", "tensor")


def literal(
    models: Sequence[Model], groups: dict[str, int], batches: Sequence[tuple[Tensor, Tensor]]
) -> tuple[Tensor, float, list[float]]:
    """The paper's objective through a graph over all the models; shares, beta and losses."""
    rows = len(set(groups.values()))
    raw = torch.zeros(rows, len(models), dtype=torch.float64, requires_grad=True)
    beta = torch.ones((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.AdamW([raw, beta], lr=0.05, weight_decay=0.0)
    losses = []
    for inputs, labels in batches:
        alpha = raw.softmax(1)
        mixed = {
            name: sum(alpha[row, i] * model[name] for i, model in enumerate(models))
            for name, row in groups.items()
        }
        loss = F.cross_entropy(beta * functional_call(network(), mixed, (inputs,)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return raw.softmax(1).detach(), beta.item(), losses


@pytest.mark.parametrize("by", KINDS)
@pytest.mark.parametrize("memory", [0, 700, math.inf])
def test_it_takes_the_steps_of_autograd_through_the_explicit_sum(by: By, memory: float) -> None:
    models, inputs, labels = networks(3)
    rows = {
        "global": {"0.weight": 0, "0.bias": 0, "2.weight": 0, "2.bias": 0},
        "layer": {"0.weight": 0, "0.bias": 0, "2.weight": 1, "2.bias": 1},
        "tensor": {"0.weight": 0, "0.bias": 1, "2.weight": 2, "2.bias": 3},
    }[by]
    objective = HeldoutLoss(network(), inputs, labels, checked=0, batch_size=16)
    batches = [(inputs[b], labels[b]) for epoch in range(4) for b in objective.batches(epoch)]
    alpha, beta, losses = literal(models, rows, batches)
    found = learn(pool(models), objective, by, epochs=4, memory=memory)
    shares = torch.tensor([list(row.values()) for row in found.shares.values()])
    assert (alpha - 1 / 3).abs().max() > 0.1
    assert torch.allclose(shares.double(), alpha, atol=1e-5)
    assert found.beta == pytest.approx(beta, abs=1e-5)
    assert found.losses == pytest.approx(losses, abs=1e-5)
    assert list(found.groups) == list(models[0])


@pytest.mark.parametrize("by", KINDS)
def test_it_finds_the_known_optimum_of_a_convex_loss(by: By) -> None:
    torch.manual_seed(0)
    models = [{"a": torch.randn(6), "b": torch.randn(6)} for _ in range(3)]
    best = torch.tensor([0.2, 0.1, 0.7])
    target = {n: sum(s * m[n] for s, m in zip(best, models, strict=True)) for n in ("a", "b")}
    found = learn(pool(models), Target(target, steps=400), by, epochs=1)  # type: ignore[arg-type]
    for shares in found.shares.values():
        assert torch.allclose(torch.tensor(list(shares.values())), best, atol=0.01)


@settings(max_examples=30)
@given(alike(least=2), st.sampled_from(KINDS), seeds)
def test_shares_sum_to_one_and_the_soup_is_the_literal_sum(
    models: list[Model], by: By, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    target = {n: torch.randn(t.shape, generator=generator) for n, t in floats(models[0]).items()}
    found = learn(pool(models), Target(target), by, epochs=2)
    soup = learned(pool(models), Target(target), by=by, epochs=2)
    for shares in found.shares.values():
        assert sum(shares.values()) == pytest.approx(1, abs=1e-12)
    for name, first in models[0].items():
        if not first.is_floating_point():
            assert torch.equal(soup.weights[name], first)
            continue
        shares = found.shares[found.groups[name]]
        total = torch.zeros(first.shape, dtype=torch.float64)
        for index, model in enumerate(models):
            total = total + shares[f"model {index}"] * model[name].double()
        largest = max((float(m[name].abs().max()) for m in models if first.numel()), default=0.0)
        precision = torch.finfo(first.dtype).eps
        expected, found_there = total.to(first.dtype).double(), soup.weights[name].double()
        assert soup.weights[name].dtype == first.dtype
        assert torch.allclose(found_there, expected, rtol=precision, atol=1e-15 * largest)
    if "tied" in models[0] and models[0]["tied"].numel():
        assert soup.weights["tied"] is soup.weights["layer0"]


@settings(max_examples=30)
@given(alike(most=1), st.sampled_from(KINDS))
def test_one_ingredient_returns_itself_bit_for_bit(models: list[Model], by: By) -> None:
    model = {
        name: -tensor if tensor.is_floating_point() else tensor
        for name, tensor in models[0].items()
    }
    soup = learned(pool([model]), Target(floats(model)), by=by, epochs=1)
    for name, tensor in model.items():
        found = soup.weights[name]
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(
            found.reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8)
        )


@settings(max_examples=30)
@given(alike(most=1), st.integers(2, 4), st.sampled_from(KINDS))
def test_equal_models_are_a_fixed_point(models: list[Model], count: int, by: By) -> None:
    soup = learned(pool(models * count), Target(floats(models[0])), by=by, epochs=2)
    for name, tensor in models[0].items():
        assert torch.equal(soup.weights[name], tensor)


def test_the_shares_that_did_best_in_the_check_are_kept_and_learning_stops() -> None:
    models = [{"w": torch.tensor([0.0])}, {"w": torch.tensor([1.0])}]
    objective = Target({"w": torch.ones(1)}, checks=[5.0, 6.0, 3.0, 4.0, 3.0, 0.0])
    found = learn(pool(models), objective, epochs=9, patience=2)
    assert found.checks == (5.0, 6.0, 3.0, 4.0, 3.0)
    assert len(found.losses) == 4
    kept = found.shares["w"]["model 1"]
    assert kept == pytest.approx(objective.checked[2]["w"].item(), abs=1e-7)
    assert len({float(w["w"]) for w in objective.checked}) == 5


def test_a_higher_rate_moves_the_shares_further_in_a_step() -> None:
    models = [{"w": torch.tensor([0.0])}, {"w": torch.tensor([1.0])}]
    for lr in (0.05, 0.2):
        soup = learned(pool(models), Target({"w": torch.ones(1)}), epochs=1, lr=lr)
        assert soup.shares is not None
        share = soup.shares["w"]["model 1"]
        assert share == pytest.approx(1 / (1 + math.exp(-2 * lr)), abs=1e-4)
    with pytest.raises(Unusable, match=r"lr of learned is a number above 0, not 0\.0"):
        learned(pool(models), Target({"w": torch.ones(1)}), lr=0.0)


def test_equal_shares_are_kept_if_learning_only_does_worse() -> None:
    models = [{"w": torch.tensor([0.0])}, {"w": torch.tensor([1.0])}]
    objective = Target({"w": torch.ones(1)}, checks=[1.0, 2.0, 3.0, 4.0])
    assert learn(pool(models), objective).shares == {"w": {"model 0": 0.5, "model 1": 0.5}}


def test_without_a_check_the_last_shares_are_kept() -> None:
    models = [{"w": torch.tensor([0.0])}, {"w": torch.tensor([1.0])}]
    objective = Target({"w": torch.ones(1)})
    found = learn(pool(models), objective, epochs=3)
    assert found.checks == ()
    assert found.shares["w"]["model 1"] == pytest.approx(float(objective.checked[3]["w"]), abs=1e-7)
    assert len(objective.checked) == 4


def test_the_temperature_improves_the_loss_and_is_no_part_of_the_weights() -> None:
    models, inputs, _ = networks(1)
    logits = functional_call(network(), models[0], (inputs,))
    labels = logits.argmax(1)
    objective = HeldoutLoss(network(), inputs, labels, batch_size=10)
    found = learn(pool(models), objective)
    assert found.beta > 1.5
    assert found.checks[-1] < found.checks[0] - 0.01
    soup = learned(pool(models), objective)
    assert torch.equal(functional_call(network(), dict(soup.weights), (inputs,)), logits)


def test_weights_are_mixed_into_the_model_with_no_second_copy() -> None:
    models, inputs, labels = networks(3)
    objective = HeldoutLoss(network(), inputs, labels, batch_size=16)
    addresses = {name: tensor.data_ptr() for name, tensor in objective.storage.items()}
    given: list[dict[str, int]] = []

    def batches(epoch: int, size: int | None = None) -> list[Tensor]:
        return [torch.arange(16)]

    def load(weights: Weights) -> None:
        given.append({name: weights[name].data_ptr() for name in weights})
        load_before(weights)

    load_before, objective._load = objective._load, load  # type: ignore[method-assign]
    objective.batches = batches  # type: ignore[method-assign, assignment]
    learn(pool(models), objective, epochs=2)
    assert given == [addresses] * 5  # two steps and three checks


def test_files_are_streamed_to_the_shares_and_the_soup_of_dictionaries(tmp_path: Path) -> None:
    models, inputs, labels = networks(3)
    models = [{n: t.float() for n, t in m.items()} for m in models]
    files = []
    for index, model in enumerate(models):
        save(model, tmp_path / f"{index}.safetensors")
        files.append(Checkpoint(tmp_path / f"{index}.safetensors"))
    objective = HeldoutLoss(network().float(), inputs.float(), labels, batch_size=10)
    held = learned(pool(models), objective, by="tensor", epochs=2)
    streamed = learned(pool(files), objective, by="tensor", epochs=2, memory=0)
    assert isinstance(held.weights, dict)
    assert not isinstance(streamed.weights, dict)
    for name in models[0]:
        assert torch.allclose(held.weights[name], streamed.weights[name], atol=1e-5)
        assert not torch.allclose(held.weights[name], models[0][name], atol=0.01)


def test_all_ingredients_are_in_the_soup_and_a_judge_counts_its_errors() -> None:
    models = [{"w": torch.tensor([0.0])}, {"w": torch.tensor([1.0])}]
    soup = learned(pool(models), Target({"w": torch.ones(1)}), lambda weights, at_most=None: 7)
    assert soup.errors == 7
    assert soup.kept == ("model 0", "model 1")
    assert [(t.name, t.kept) for t in soup.trace] == [("model 0", True), ("model 1", True)]
    assert learned(pool(models), Target({"w": torch.ones(1)})).errors is None


def test_a_loss_that_is_no_number_ends_it() -> None:
    fine, broken = {"w": torch.tensor([0.0])}, {"w": torch.tensor([NAN])}
    message = "the loss of the learned soup is nan after 0 steps; leave out models that diverged"
    with pytest.raises(NotFinite, match=message):
        learn(pool([fine, broken]), Target({"w": torch.ones(1)}))
    with pytest.raises(NotFinite, match=message):
        learn(pool([fine]), Target({"w": torch.ones(1)}, checks=[NAN]))


def test_unknown_groups_and_names_given_twice_are_refused() -> None:
    model = {"w": torch.zeros(1)}
    with pytest.raises(Unusable, match="shares by 'row' are unknown; known: global, layer, ten"):
        learn(pool([model]), Target(model), by="row")  # type: ignore[arg-type]
    with pytest.raises(Unusable, match="two ingredients of the same name: model 0"):
        learn([*pool([model]), *pool([model])], Target(model))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("blocks.3.attn.qkv.weight", "blocks.3"),
        ("blocks.2.1.conv_pw.weight", "blocks.2.1"),
        ("stages.2.blocks.5.mlp.fc1.weight", "stages.2.blocks.5"),
        ("stages.2.downsample.0.weight", "stages.2"),
        ("layer1.0.downsample.1.weight", "layer1.0"),
        ("encoder.block.0.layer.1.wi.weight", "encoder.block.0"),
        ("visual.transformer.resblocks.11.ln_1.bias", "visual.transformer.resblocks.11"),
        ("0.weight", "0"),
        ("conv1.weight", "conv1"),
        ("head.bias", "head"),
        ("cls_token", "cls_token"),
    ],
)
def test_the_layer_of_a_tensor_is_its_block(name: str, expected: str) -> None:
    assert layer_of(name) == expected


def test_a_tensor_without_a_gradient_follows_its_layer_or_keeps_equal_shares() -> None:
    names = ("0.weight", "0.running_mean", "1.running_mean")
    models = [{name: torch.tensor([float(i)]) for name in names} for i in range(2)]
    found = learn(pool(models), Target({"0.weight": torch.ones(1)}), epochs=2)
    assert found.groups["0.running_mean"] == found.groups["0.weight"] == "0"
    assert found.shares["0"]["model 1"] > 0.52
    assert found.shares["1"] == {"model 0": 0.5, "model 1": 0.5}


def test_tied_tensors_follow_the_first_of_them() -> None:
    embed = torch.ones(2)
    model = {"embed.weight": embed, "head.weight": embed, "head.bias": torch.ones(1)}
    found = learn(pool([model, model]), Target(floats(model)), epochs=0)
    assert found.groups == {"embed.weight": "embed", "head.weight": "embed", "head.bias": "head"}
