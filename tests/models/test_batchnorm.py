"""A soup's BatchNorm statistics, computed anew, are those of its own activations."""

import copy

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from soup.models import ModelError
from soup.models.batchnorm import (
    Recalibration,
    has_batchnorm,
    layers_of,
    layers_that_differ,
    recalibrate,
    spread_evenly,
)
from soup.weights import average


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Dropout(0.5), nn.BatchNorm1d(5))


def test_the_statistics_are_those_of_the_soups_own_activations() -> None:
    model = network(0)
    inputs = torch.randn(64, 3)
    for seed in (1, 2):  # statistics that say something
        network(seed)(inputs)
    soup = average([network(1).state_dict(), network(2).state_dict()])
    model.load_state_dict(soup)
    activations = model[1](model[0](inputs)).detach()
    weights = recalibrate(model, [inputs])
    torch.testing.assert_close(weights["3.running_mean"], activations.mean(0))
    torch.testing.assert_close(weights["3.running_var"], activations.var(0))
    assert not torch.allclose(soup["3.running_mean"], activations.mean(0))


def test_nothing_but_statistics_changes_and_the_model_is_left_ready() -> None:
    model = network(0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights = recalibrate(model, [torch.randn(32, 3), torch.randn(32, 3)])
    changed = {name for name in before if not torch.equal(before[name], weights[name])}
    assert changed == {"3.running_mean", "3.running_var", "3.num_batches_tracked"}
    assert int(weights["3.num_batches_tracked"]) == 2
    assert not model.training
    assert model[2].p == 0.5


def test_a_model_without_running_statistics_is_known() -> None:
    assert has_batchnorm(network(0))
    assert not has_batchnorm(nn.Sequential(nn.Linear(3, 3), nn.GroupNorm(1, 3)))
    assert not has_batchnorm(nn.BatchNorm1d(3, track_running_stats=False))


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_real_networks_get_what_torch_gives_them(name: str) -> None:
    """In float64; equal batches, since torch counts each batch alike."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=3).double()
    batches = [torch.randn(5, 3, 32, 32, dtype=torch.float64) for _ in range(3)]
    expected = copy.deepcopy(model)
    update_bn(batches, expected)
    for key, tensor in recalibrate(model, batches).items():
        torch.testing.assert_close(tensor, expected.state_dict()[key], rtol=1e-10, atol=1e-12)


class Twice(nn.Module):
    """One layer used twice, under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.a = self.b = nn.BatchNorm1d(3)

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.b(3 * self.a(inputs) + 1)
        return output


def mean_over(batches: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance of each channel, each input counting alike, by a plain loop."""
    means, variances, n = torch.zeros(()), torch.zeros(()), 0
    for batch in batches:
        rows = batch.double().transpose(1, -1).reshape(-1, batch.shape[1])
        means = means + len(batch) * rows.mean(0)
        deviation = rows - rows.mean(0)
        variances = variances + len(batch) * (deviation**2).sum(0) / (len(rows) - 1)
        n += len(batch)
    return means / n, variances / n


KINDS = {
    "1d": (nn.BatchNorm1d(3), (3,)),
    "1d over a sequence": (nn.BatchNorm1d(3), (3, 5)),
    "2d": (nn.BatchNorm2d(3), (3, 4, 5)),
    "3d": (nn.BatchNorm3d(3), (3, 2, 4, 5)),
    "synchronised": (nn.SyncBatchNorm(3), (3, 4, 5)),
    "without momentum": (nn.BatchNorm2d(3, momentum=None), (3, 4, 5)),
    "not affine": (nn.BatchNorm2d(3, affine=False), (3, 4, 5)),
    "with an activation": (timm.layers.BatchNormAct2d(3), (3, 4, 5)),
    "in float64": (nn.BatchNorm2d(3).double(), (3, 4, 5)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [[6, 6], [7, 4, 1], [1, 5], [1, 1, 1, 4]])
def test_every_kind_of_layer_and_batches_of_any_size(kind: str, sizes: list[int]) -> None:
    layer, shape = KINDS[kind]
    momentum = layer.momentum
    rng = torch.Generator().manual_seed(0)
    inputs = 2 * torch.randn(sum(sizes), *shape, generator=rng).to(layer.running_mean.dtype) + 1
    weights = recalibrate(layer, inputs.split(sizes))
    joined = {"[7, 4, 1]": [7, 5], "[1, 5]": [6], "[1, 1, 1, 4]": [3, 4]}.get(str(sizes), sizes)
    mean, var = mean_over([*inputs.split(joined)])
    torch.testing.assert_close(weights["running_mean"].double(), mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(weights["running_var"].double(), var, rtol=1e-5, atol=1e-6)
    assert int(weights["num_batches_tracked"]) == len(joined)
    assert layer.momentum == momentum
    assert not layer.training


def test_a_layer_that_is_used_twice_sees_both_inputs_and_both_names_get_the_statistics() -> None:
    model, inputs = Twice(), torch.randn(50, 3) + 2
    weights = recalibrate(model, [inputs])
    first = (inputs - inputs.mean(0)) / inputs.var(0, correction=0).sqrt()
    expected = (inputs.mean(0) + (3 * first + 1).mean(0)) / 2
    torch.testing.assert_close(weights["a.running_mean"], expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(weights["a.running_mean"], weights["b.running_mean"])
    assert [*layers_of(model)] == ["a", "b"]


def test_layers_without_running_statistics_and_other_norms_stay_as_they_are() -> None:
    class FrozenBatchNorm(nn.Module):
        """As torchvision's and timm's: the statistics are constants of the model."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("running_mean", torch.ones(4))
            self.register_buffer("running_var", 2 * torch.ones(4))

    model = nn.Sequential(
        nn.Conv2d(4, 4, 1),
        nn.GroupNorm(2, 4),
        nn.BatchNorm2d(4, track_running_stats=False),
        FrozenBatchNorm(),
        nn.InstanceNorm2d(4, track_running_stats=True),
    )
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    del model[3]  # it computes nothing here
    assert not has_batchnorm(model)
    after = recalibrate(model, [torch.randn(3, 4, 5, 5)])
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in after.items())
    assert torch.equal(before["0.weight"], after["0.weight"])


def test_nothing_random_takes_part() -> None:
    torch.manual_seed(0)
    model = timm.create_model("test_efficientnet", drop_rate=0.5, drop_path_rate=0.5)
    inputs = [torch.randn(4, 3, 32, 32)]
    first, again = recalibrate(model, inputs), recalibrate(model.train(), inputs)
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())


@pytest.mark.parametrize("batches", [[], [torch.ones(1, 3)]])
def test_fewer_than_two_inputs_are_refused(batches: list[Tensor]) -> None:
    layer = nn.BatchNorm1d(3)
    with pytest.raises(ModelError, match="at least two images"):
        recalibrate(layer, batches)
    assert torch.equal(layer.running_var, torch.ones(3))  # type: ignore[arg-type]


def test_statistics_that_were_frozen_in_the_fine_tunes_are_kept() -> None:
    """A fine-tune in which some or all layers were in evaluation mode."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3), nn.BatchNorm1d(3))
    weights = [{n: t.clone() for n, t in model.state_dict().items()} for _ in range(3)]
    assert layers_that_differ(model, weights) == []
    weights[2]["2.running_var"] += 1
    assert layers_that_differ(model, weights) == ["2"]
    assert layers_that_differ(model, weights[:1]) == []
    frozen = recalibrate(model, [torch.randn(9, 3) + 5], ["2"])
    assert torch.equal(frozen["0.running_mean"], torch.zeros(3))
    assert int(frozen["0.num_batches_tracked"]) == 0
    assert not torch.equal(frozen["2.running_mean"], torch.zeros(3))


@pytest.mark.parametrize(
    ("stored", "scale", "dtype"),
    [
        (torch.float16, 1, torch.float16),
        (torch.float16, 1000, torch.float32),
        (torch.bfloat16, 1000, torch.bfloat16),
        (torch.float8_e4m3fn, 1, torch.float32),
    ],
)
def test_statistics_are_judged_as_they_are_stored(
    stored: torch.dtype, scale: float, dtype: torch.dtype
) -> None:
    """In the weights' type, but where it cannot hold a variance."""
    layer = nn.BatchNorm1d(3)
    weights = {
        name: t.to(stored) if t.is_floating_point() else t for name, t in layer.state_dict().items()
    }
    statistics = Recalibration(scale * torch.randn(40, 3))(layer, weights)
    assert statistics["running_var"].dtype == dtype
    assert statistics["running_mean"].dtype == (dtype if stored.itemsize == 1 else stored)
    for name, tensor in statistics.items():
        assert torch.equal(layer.state_dict()[name], tensor.to(layer.state_dict()[name].dtype))


@pytest.mark.parametrize("count", [2, 3, 7, 8, 9, 16, 17])
def test_batches_are_as_equal_as_can_be_and_none_is_of_one(count: int) -> None:
    sizes: list[int] = []

    def prepare(part: Tensor) -> Tensor:
        sizes.append(len(part))
        return part

    layer = nn.BatchNorm1d(3)
    Recalibration(torch.randn(count, 3), prepare, batch_size=8)(layer, layer.state_dict())
    assert sum(sizes) == count
    assert 2 <= min(sizes) <= max(sizes) <= 8
    assert max(sizes) - min(sizes) <= 1


def test_the_inputs_are_spread_over_the_classes_and_always_the_same() -> None:
    chosen = spread_evenly(1000, 100)
    assert sorted(set((chosen // 100).tolist())) == [*range(10)]
    assert len(set(chosen.tolist())) == 100
    assert len(set((chosen[:25] // 100).tolist())) > 5  # each batch has many of them
    assert spread_evenly(1000, 100).tolist() == chosen.tolist()
    assert sorted(spread_evenly(5, 100).tolist()) == [0, 1, 2, 3, 4]


def test_the_tower_of_a_clip_resnet_is_recalibrated() -> None:
    from open_clip.modified_resnet import ModifiedResNet

    torch.manual_seed(0)
    tower = ModifiedResNet([1, 1, 1, 1], output_dim=8, heads=2, image_size=32, width=8).double()
    batches = [torch.randn(4, 3, 32, 32, dtype=torch.float64) for _ in range(2)]
    expected = copy.deepcopy(tower)
    update_bn(batches, expected)
    for key, tensor in recalibrate(tower, batches).items():
        torch.testing.assert_close(tensor, expected.state_dict()[key], rtol=1e-10, atol=1e-12)
