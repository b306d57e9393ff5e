"""A model's logits on examples, and the judge of candidate soups on them."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from soup.evaluation.examples import Examples
from soup.evaluation.judges import TOP1_ERROR, ErrorFunction, ErrorJudge
from soup.evaluation.metrics import Correct, Logits
from soup.models import load_weights


@torch.inference_mode()
def predict(
    model: nn.Module,
    examples: Examples,
    batch_size: int = 256,
    bf16: bool = False,
    indices: NDArray[np.int64] | None = None,
) -> Logits:
    """Raw logits, float32 (examples, classes), in the order of the examples.

    The model must be in evaluation mode; it runs on the device that it is on.

    Args:
        bf16: compute in bfloat16 where the device is CUDA: about three digits of each logit.
        indices: of the examples to predict, if not all; at least one.
    """
    device = next(model.parameters()).device
    chosen = np.arange(len(examples)) if indices is None else indices
    batches = examples.batches(chosen, batch_size, device)
    with torch.autocast("cuda", torch.bfloat16, enabled=bf16 and device.type == "cuda"):
        # On a GPU the logits stay there to the end, for each copy back would wait for the model.
        logits: Logits = torch.cat([model(batch).float() for batch in batches]).cpu().numpy()
    return logits


def heldout_judge(
    model: nn.Module,
    examples: Examples,
    name: str,
    correct: Sequence[Correct] = (),
    batch_size: int = 256,
    wrong: ErrorFunction = TOP1_ERROR,
) -> ErrorJudge:
    """A judge of held-out examples, all of which it holds, compact, on the model's device.

    Args:
        model: any model of the architecture; its weights are overwritten.
        name: of the architecture, for the error of weights that do not fit.
        correct: for each ingredient already scored, which examples it got right.
    """
    return ErrorJudge(
        model,
        examples.compact(np.arange(len(examples))),
        torch.from_numpy(examples.labels),
        correct,
        batch_size,
        wrong,
        prepare=examples.prepare,
        load=lambda model, weights: load_weights(model, weights, name),
    )
