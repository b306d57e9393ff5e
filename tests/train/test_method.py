"""The optimiser, and which parameters learn how fast."""

import pytest
from torch import nn

from soup.train.method import Method, UnknownOptimizer, groups, make_optimizer, require
from tests.worlds import tiny


def test_matrices_are_decayed_and_norms_and_biases_are_not() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    decayed, plain = groups(model, Method(weight_decay=0.2))
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.2, 0.0)
    assert {p.ndim for p in decayed["params"]} == {2}
    assert {p.ndim for p in plain["params"]} == {1}


def test_the_rate_falls_from_layer_to_layer_and_is_whole_at_the_head() -> None:
    model = tiny()[1]
    found = groups(model, Method(weight_decay=0.1, layer_decay=0.5))
    scale = {id(p): group["lr_scale"] for group in found for p in group["params"]}
    named = {name: scale[id(p)] for name, p in model.named_parameters()}
    assert len(named) == len(scale)
    assert named["fc.weight"] == 1
    first = named["conv1.0.weight"]
    assert first == min(named.values()) < named["layer3.0.conv1.weight"] < 1
    assert {group["weight_decay"] for group in found} == {0.0, 0.1}


@pytest.mark.parametrize("name", ["adamw", "sgd", "lion", "lamb"])
def test_any_of_timms_is_made(name: str) -> None:
    made = make_optimizer(nn.Linear(2, 2), Method(optimizer=name), lr=0.25)
    assert {group["lr"] for group in made.param_groups} == {0.25}
    assert type(made).__name__.lower().startswith(name[:4])


def test_an_unknown_one_is_an_error_with_the_nearest_names() -> None:
    require("adamw")
    with pytest.raises(UnknownOptimizer, match=r"sweep.optimizer: .*'adamv'; near: .*adamw"):
        require("adamv")
