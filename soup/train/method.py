"""How a step is taken: the optimiser, and what is done to the gradient on the way to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import torch
from torch import nn

from soup.errors import BadInput

Precision = Literal["float32", "bfloat16"]


class UnknownOptimizer(BadInput, ValueError):
    """Not one of timm's; the message has the nearest names."""


@dataclass(frozen=True)
class Method:
    """What all steps of a run share.

    Attributes:
        optimizer: one of `timm.optim.list_optimizers()`.
        weight_decay: of matrices; norms and biases are not decayed, as is usual.
        layer_decay: factor of the learning rate from each layer to the one below it; 1 for none.
        clip: largest gradient norm; None does not clip.
        accumulate: parts that a batch is computed in, one after the other: memory for time.
        sam: radius rho of sharpness-aware minimisation; 0 is plain descent.
        precision: of the model's passes; the weights are kept and updated in float32.
    """

    optimizer: str = "adamw"
    weight_decay: float = 0.0
    layer_decay: float = 1.0
    clip: float | None = 1.0
    accumulate: int = 1
    sam: float = 0.0
    precision: Precision = "float32"


def require(name: str) -> None:
    """
    Raises:
        UnknownOptimizer: timm has no such optimiser.
    """
    from timm.optim import list_optimizers

    known = list_optimizers()
    if name not in known:
        near = ", ".join(get_close_matches(name, known, n=5)) or "see timm.optim.list_optimizers()"
        raise UnknownOptimizer(f"sweep.optimizer: timm does not know {name!r}; near: {near}")


def make_optimizer(model: nn.Module, method: Method, lr: float) -> torch.optim.Optimizer:
    """An optimiser from timm's factory, over groups by decay (and by layer, if asked for)."""
    from timm.optim import create_optimizer_v2

    made: torch.optim.Optimizer = create_optimizer_v2(
        groups(model, method), opt=method.optimizer, lr=lr, weight_decay=method.weight_decay
    )
    return made


def groups(model: nn.Module, method: Method) -> Sequence[dict[str, Any]]:
    """Parameters with the decay and the share of the learning rate ('lr_scale') of each group."""
    if method.layer_decay < 1:
        from timm.optim import param_groups_layer_decay

        layered: list[dict[str, Any]] = param_groups_layer_decay(
            model, method.weight_decay, layer_decay=method.layer_decay
        )
        return layered
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": method.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
