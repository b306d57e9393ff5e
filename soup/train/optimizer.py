"""The optimiser of a run, and the settings that all of its steps have in common."""

from dataclasses import dataclass
from difflib import get_close_matches

import torch
from torch import nn

from soup.errors import BadInput
from soup.models.layer_groups import parameter_groups
from soup.train.hyperparameters import Precision

FUSED = ("adam", "adamw", "momentum", "sgd")  # those that torch has fused


class UnknownOptimizer(BadInput, ValueError):
    """timm has no optimiser of this name; the message lists the nearest names."""


@dataclass(frozen=True)
class StepConfig:
    """The settings that all steps of a run have in common.

    Attributes:
        optimizer: one of `timm.optim.list_optimizers()`.
        weight_decay: of matrices; norms and biases are not decayed.
        layer_decay: factor of the learning rate from each layer to the one below it; 1 for none.
        clip: largest gradient norm; None does not clip.
        accumulate: parts that a batch is computed in, one after the other: memory for time.
        sam: radius rho of sharpness-aware minimisation; 0 is plain descent.
        precision: of the model's passes; the weights are kept and updated in float32.
        frozen_batchnorm: whether BatchNorm layers use, and keep, the statistics that they have.
    """

    optimizer: str = "adamw"
    weight_decay: float = 0.0
    layer_decay: float = 1.0
    clip: float | None = 1.0
    accumulate: int = 1
    sam: float = 0.0
    precision: Precision = "float32"
    frozen_batchnorm: bool = False


def require(name: str) -> None:
    """Check the name of an optimiser.

    Raises:
        UnknownOptimizer: timm has no such optimiser.
        BadInput: it needs second derivatives, which training does not compute.
    """
    from timm.optim import get_optimizer_info, list_optimizers

    names = list_optimizers()
    if name not in names:
        near = ", ".join(get_close_matches(name, names, n=5)) or "see timm.optim.list_optimizers()"
        raise UnknownOptimizer(f"sweep.optimizer: timm does not know {name!r}; near: {near}")
    if get_optimizer_info(name).second_order:
        raise BadInput(
            f"sweep.optimizer: {name} needs second derivatives of the loss, for which training "
            "keeps no graph; choose another, such as adamw"
        )


def make_optimizer(model: nn.Module, method: StepConfig, lr: float) -> torch.optim.Optimizer:
    """An optimiser of timm's, with a group of parameters by weight decay and, if set, by layer."""
    from timm.optim import create_optimizer_v2

    groups = parameter_groups(
        model, method.weight_decay, method.layer_decay if method.layer_decay < 1 else None
    )
    on = next(model.parameters()).device.type
    # One pass over all parameters in place of ten. A training step of the demo's network takes four
    # fifths of the time; the optimiser's part of one of MiniLM, mostly embeddings, a tenth.
    fused = {"fused": True} if method.optimizer in FUSED and on in ("cpu", "cuda") else {}
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        groups, opt=method.optimizer, lr=lr, weight_decay=method.weight_decay, **fused
    )
    return optimizer
