"""BatchNorm statistics of a soup: those of the average are not the average of those.

The running mean and variance of each ingredient describe its own activations. Averaged with the
weights they are an approximation; computed anew, with the soup's weights on training images, they
are exact, at the cost of a pass over these. Opinions conflict on which does better, so that both
are offered.
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
    """Compute the running statistics anew on batches of inputs, in place; returns all weights.

    The mean over the batches of each one's statistics, by `torch.optim.swa_utils.update_bn`. What
    is random in training (dropout) is switched off.
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
