"""Evaluation shared by the ranks of a fine-tune."""

import numpy as np
import torch
from torch import nn

from soup.evaluation.examples import Examples
from soup.evaluation.metrics import Logits
from soup.evaluation.predict import predict
from soup.train.rank import Rank


def answers(
    model: nn.Module, examples: Examples, classes: int, batch_size: int, share: Rank
) -> Logits:
    """Raw logits, float32 (examples, classes), on every rank; each computes some of the batches.

    Ranks take whole batches, so that each logit is the one that a single device would give.

    Args:
        classes: how many the model has.
        share: this process's rank.
    """
    if share.world == 1:
        return predict(model, examples, batch_size)
    batches = -(-len(examples) // batch_size)
    bounds = [share.of(batches, rank) for rank in range(share.world)]
    ends = [min(each.stop * batch_size, len(examples)) for each in bounds]
    starts = [0, *ends[:-1]]
    low, high = starts[share.rank], ends[share.rank]
    own: Logits = np.zeros((0, classes), np.float32)
    if high > low:
        own = predict(model, examples, batch_size, indices=np.arange(low, high))
    counts = [end - start for start, end in zip(starts, ends, strict=True)]
    joined: Logits = share.join(torch.from_numpy(own), counts).numpy()
    return joined
