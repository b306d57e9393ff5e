"""BatchNorm statistics of a soup.

The running mean and variance of each ingredient describe its own activations. Averaging them with
the weights approximates the soup's statistics; computing them anew, with the soup's weights on
training images, is exact and takes a pass over the images. The literature does not agree on which
does better, so both are offered.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from soup.weights import Weights


def has_batchnorm(model: nn.Module) -> bool:
    """Whether the model keeps running statistics."""
    return any(
        isinstance(module, _BatchNorm) and module.track_running_stats for module in model.modules()
    )


def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> Weights:
    """Compute the running statistics anew, in place, as the mean of each batch's statistics.

    Uses `torch.optim.swa_utils.update_bn`. Dropout is switched off meanwhile.

    Args:
        batches: model inputs.

    Returns:
        All weights of the model, copied.
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
