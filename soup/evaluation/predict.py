"""A model's logits on labelled examples."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from soup.evaluation.examples import Examples
from soup.evaluation.metrics import Logits


@torch.inference_mode()
def predict(
    model: nn.Module,
    examples: Examples,
    batch_size: int = 256,
    bf16: bool = False,
    indices: NDArray[np.int64] | None = None,
) -> Logits:
    """The unnormalised logits of a model, float32 (examples, classes).

    Args:
        model: in evaluation mode, on the device that it runs on.
        batch_size: examples in each forward pass.
        bf16: compute in bfloat16 on a CUDA device; leaves about three decimal digits of a logit.
        indices: of the examples to predict, at least one; None for all.
    """
    device = next(model.parameters()).device
    chosen = np.arange(len(examples)) if indices is None else indices
    with torch.autocast("cuda", torch.bfloat16, enabled=bf16 and device.type == "cuda"):
        logits: Logits = computed(model, examples, chosen, batch_size, device).numpy()
    return logits


def computed(
    compute: Callable[[Tensor], Tensor],
    examples: Examples,
    indices: NDArray[np.int64],
    batch_size: int,
    device: torch.device,
) -> Tensor:
    """What a function gives for examples, float32 on the CPU, a row for each of the indices.

    Args:
        compute: a batch of the model's input, on the device -> (batch, ...).
        indices: of the examples, each once.
    """
    batches = examples.batches(indices, batch_size, device)
    # The rows stay on a GPU to the end: each copy to the CPU would wait for the model.
    rows = torch.cat([compute(batch).float() for batch in batches]).cpu()
    groups = examples.groups(indices, batch_size)
    if groups is None:
        return rows
    row_of = np.empty(int(indices.max()) + 1, np.int64)
    row_of[np.concatenate(groups)] = np.arange(len(indices))
    return rows[torch.from_numpy(row_of[indices])]
