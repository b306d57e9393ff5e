"""A model's logits on labelled examples."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

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
    batches = examples.batches(chosen, batch_size, device)
    with torch.autocast("cuda", torch.bfloat16, enabled=bf16 and device.type == "cuda"):
        # The logits stay on a GPU to the end: each copy to the CPU would wait for the model.
        logits: Logits = torch.cat([model(batch).float() for batch in batches]).cpu().numpy()
    return logits
