"""Prediction divided among the ranks of a fine-tune."""

import numpy as np
import torch
from torch import nn

from soup.evaluation.examples import Examples
from soup.evaluation.metrics import Logits
from soup.evaluation.predict import predict
from soup.train.rank import Rank


def answers(
    model: nn.Module, examples: Examples, classes: int, batch_size: int, ranks: Rank
) -> Logits:
    """Raw logits, float32 (examples, classes), returned on every rank.

    Each rank predicts whole batches, so that every logit equals that of a single device.

    Args:
        classes: number of the model's classes.
        batch_size: images a pass.
        ranks: this process among those that run the fine-tune.
    """
    if ranks.world == 1:
        return predict(model, examples, batch_size)
    batches = -(-len(examples) // batch_size)
    bounds = [ranks.of(batches, rank) for rank in range(ranks.world)]
    ends = [min(part.stop * batch_size, len(examples)) for part in bounds]
    starts = [0, *ends[:-1]]
    low, high = starts[ranks.rank], ends[ranks.rank]
    logits: Logits = np.zeros((0, classes), np.float32)
    if high > low:
        logits = predict(model, examples, batch_size, indices=np.arange(low, high))
    counts = [end - start for start, end in zip(starts, ends, strict=True)]
    joined: Logits = ranks.join(torch.from_numpy(logits), counts).numpy()
    return joined
