"""The optimiser, and which parameters learn how fast."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from soup.errors import BadInput
from soup.train.optimizer import StepConfig, UnknownOptimizer, make_optimizer, require
from tests.worlds import tiny


def test_the_rate_falls_from_layer_to_layer_if_it_is_told_to() -> None:
    for decay, scales in ((1.0, {1.0}), (0.5, None)):
        method = StepConfig(weight_decay=0.1, layer_decay=decay)
        made = make_optimizer(tiny()[1], method, lr=1.0)
        found = {group.get("lr_scale", 1.0) for group in made.param_groups}
        assert found == scales or (scales is None and len(found) > 2)
        assert {group["weight_decay"] for group in made.param_groups} == {0.0, 0.1}


@pytest.mark.parametrize("name", ["adamw", "sgd", "lion", "lamb"])
def test_any_of_timms_is_made(name: str) -> None:
    made = make_optimizer(nn.Linear(2, 2), StepConfig(optimizer=name), lr=0.25)
    assert {group["lr"] for group in made.param_groups} == {0.25}
    assert type(made).__name__.lower().startswith(name[:4])


def test_an_unknown_one_is_an_error_with_the_nearest_names() -> None:
    require("adamw")
    with pytest.raises(UnknownOptimizer, match=r"sweep.optimizer: .*'adamv'; near: .*adamw"):
        require("adamv")


def test_one_that_needs_second_derivatives_is_refused() -> None:
    from timm.optim import get_optimizer_info, list_optimizers

    refused = [name for name in list_optimizers() if get_optimizer_info(name).second_order]
    assert "adahessian" in refused
    for name in refused:
        with pytest.raises(BadInput, match=rf"sweep.optimizer: {name} needs second derivatives"):
            require(name)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("momentum", partial(torch.optim.SGD, momentum=0.9)),
        ("sgd", partial(torch.optim.SGD, momentum=0.9, nesterov=True)),
    ],
)
def test_steps_of_one_pass_are_those_of_many(name: str, plain: Callable[..., Any]) -> None:
    """Of weights in either order of memory, and whatever the order of a gradient's."""
    torch.manual_seed(0)
    models = [nn.Sequential(nn.Conv2d(3, 5, 3), nn.Conv2d(5, 7, 1), nn.Conv2d(7, 4, 3))]
    models += [copy.deepcopy(models[0]).to(memory_format=torch.channels_last) for _ in range(2)]
    ours = [make_optimizer(m, StepConfig(optimizer=name, weight_decay=0), 1e-2) for m in models[:2]]
    steps = [*ours, plain(models[2].parameters(), lr=1e-2, weight_decay=0)]
    for _ in range(4):
        images = torch.randn(2, 3, 8, 8)
        for model, step in zip(models, steps, strict=True):
            step.zero_grad()
            model(images).square().mean().backward()
            step.step()
    expected = models[2].state_dict()
    for model in models[:2]:
        torch.testing.assert_close(model.state_dict(), expected, rtol=1e-4, atol=1e-6)


def test_a_step_has_the_same_bits_on_any_number_of_threads() -> None:
    made = []
    had = torch.get_num_threads()
    for threads in (1, 3):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        model = nn.Linear(301, 407)
        step = make_optimizer(model, StepConfig(weight_decay=0.1), 1e-2)
        for _ in range(3):
            model.weight.grad, model.bias.grad = torch.randn(407, 301), torch.randn(407)
            step.step()
        made.append(model.weight.detach().clone())
    torch.set_num_threads(had)
    assert torch.equal(*made)
