"""BatchNorm statistics of a soup.

The running mean and variance of an ingredient describe the ingredient's activations. Their average
over the ingredients only approximates the statistics of the soup's activations. `recalibrate`
computes these in a pass over training images. The literature does not agree on which gives the
better accuracy, so both are offered.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from soup.weights import Weights


def has_batchnorm(model: nn.Module) -> bool:
    """Whether the model has BatchNorm layers with running statistics."""
    return any(
        isinstance(module, _BatchNorm) and module.track_running_stats for module in model.modules()
    )


def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> Weights:
    """Recompute the running statistics in place, as the mean of the batches' statistics.

    Uses `torch.optim.swa_utils.update_bn`, with dropout switched off. The model is in evaluation
    mode afterwards.

    Args:
        batches: inputs of the model.

    Returns:
        A copy of all weights of the model.
    """
    rates = {module: module.p for module in model.modules() if isinstance(module, nn.Dropout)}
    for module in rates:
        module.p = 0.0
    try:
        with torch.no_grad():
            update_bn(batches, model)
    finally:
        for module, rate in rates.items():
            module.p = rate
        model.eval()
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
