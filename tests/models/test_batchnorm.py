"""A soup's BatchNorm statistics, computed anew, are those of its own activations."""

import torch
from torch import nn

from soup.models.batchnorm import has_batchnorm, recalibrate
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
