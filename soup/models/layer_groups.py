"""Settings by layer: learning rates, weight decay, stochastic depth, gradient checkpointing."""

from typing import Any

import torch
from timm.layers import DropPath
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from torch import nn

from soup.models.architecture import Architecture, ModelError
from soup.models.building import library


def parameter_groups(
    model: nn.Module, weight_decay: float, layer_decay: float | None = None
) -> list[dict[str, Any]]:
    """The parameter groups of an optimizer, by weight decay and, with `layer_decay`, by layer.

    Norms, biases and the parameters that the model itself exempts (positions, class tokens) have no
    weight decay. The 'lr_scale' of a group is layer_decay ** (number of layers above it), which is
    1 for the head; without `layer_decay` it is 1. Layers are as timm defines them. Clark et al.,
    "ELECTRA", ICLR 2020; Bao et al., "BEiT", ICLR 2022.

    Args:
        model: of timm, or a `ClipClassifier`.
        weight_decay: of the groups that have weight decay.
        layer_decay: the factor from each layer to the one below it, above 0 and at most 1.

    Returns:
        Groups with 'params', 'weight_decay' and 'lr_scale': first those with weight decay, from the
        stem to the head, then the others in the same order.

    Raises:
        ModelError: `layer_decay` is given, and the model does not define its layers.
    """
    timm_model: Any = model
    exempt = timm_model.no_weight_decay() if hasattr(model, "no_weight_decay") else set()
    groups: list[dict[str, Any]]
    # A decay of 1, because timm does not tell the two kinds of parameters apart for a decay of 0.
    if layer_decay is None:
        groups = param_groups_weight_decay(model, 1.0, no_weight_decay_list=exempt)
    elif hasattr(model, "group_matcher"):
        groups = param_groups_layer_decay(model, 1.0, exempt, layer_decay=layer_decay)
    else:
        raise ModelError(
            f"{type(model).__name__} does not say how deep its layers are; "
            "leave layer_decay out for it"
        )
    groups = [{"lr_scale": 1.0, **group} for group in groups]
    groups.sort(key=lambda group: (-group["weight_decay"], group["lr_scale"]))
    return [{**group, "weight_decay": group["weight_decay"] * weight_decay} for group in groups]


def set_drop_path(model: nn.Module, architecture: Architecture, rate: float) -> None:
    """Set the stochastic depth of a built model in place: `rate` at the last block, less below it.

    The rates of the blocks are those of the same model built with this rate. Huang et al., "Deep
    networks with stochastic depth", ECCV 2016.

    Args:
        architecture: the one that the model was built from.
        rate: probability that the last block is skipped in training, 0 to 1.

    Raises:
        ModelError: the model has no stochastic depth.
    """
    module = library(architecture.library)
    try:
        with torch.random.fork_rng(devices=()):  # training's random numbers stay as they are
            twin = module.build(module.with_drop_path(architecture, rate))
    except ModelError as error:
        if "drop_path_rate" not in str(error):
            raise
        raise ModelError(f"{architecture.model} has no drop path; set it to 0") from None
    wanted = {n: m for n, m in twin.named_modules() if isinstance(m, DropPath)}
    if rate and not wanted:
        raise ModelError(f"{architecture.model} has no drop path; set it to 0")
    present = {n: nn.Identity() for n, m in model.named_modules() if isinstance(m, DropPath)}
    for name, module in {**present, **wanted}.items():
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, module.train(model.training))


def checkpoint_gradients(model: nn.Module) -> None:
    """Keep only the inputs of blocks, and recompute other activations in the backward pass.

    This takes less memory and gives the same gradients.

    Chen et al., "Training deep nets with sublinear memory cost", 2016.

    Raises:
        ModelError: the model has no gradient checkpointing.
    """
    try:
        timm_model: Any = model
        timm_model.set_grad_checkpointing()
    except (AttributeError, AssertionError) as error:
        raise ModelError(
            f"{type(model).__name__} has no gradient checkpointing ({error}); turn it off, or "
            "choose a smaller batch with accumulation"
        ) from None
