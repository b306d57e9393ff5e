"""How a step is taken: the optimiser, and what is done to the gradient on the way to it."""

from dataclasses import dataclass
from difflib import get_close_matches

import torch
from torch import nn

from soup.errors import BadInput
from soup.models.layer_groups import parameter_groups
from soup.train.hyperparameters import Precision


class UnknownOptimizer(BadInput, ValueError):
    """Not one of timm's; the message has the nearest names."""


@dataclass(frozen=True)
class StepConfig:
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


def make_optimizer(model: nn.Module, method: StepConfig, lr: float) -> torch.optim.Optimizer:
    """An optimiser from timm's factory, over groups by decay (and by layer, if asked for)."""
    from timm.optim import create_optimizer_v2

    groups = parameter_groups(
        model, method.weight_decay, method.layer_decay if method.layer_decay < 1 else None
    )
    made: torch.optim.Optimizer = create_optimizer_v2(
        groups, opt=method.optimizer, lr=lr, weight_decay=method.weight_decay
    )
    return made
