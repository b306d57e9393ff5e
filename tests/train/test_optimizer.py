"""The optimiser, and which parameters learn how fast."""

import pytest
from torch import nn

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
