"""Evaluation shared by the ranks of a fine-tune."""

import numpy as np
import torch
from torch import nn

from soup.data.loading.images import Images
from soup.evaluation.metrics import Logits
from soup.evaluation.predict import predict
from soup.models import Architecture
from soup.train.rank import Rank


def answers(
    model: nn.Module, images: Images, architecture: Architecture, batch_size: int, share: Rank
) -> Logits:
    """Raw logits of all images, in their order, on every rank; each computes some of the batches.

    Ranks take whole batches, so that each answer is the one that a single device would give.
    """
    if share.world == 1:
        return predict(model, images, architecture, batch_size)
    batches = -(-len(images) // batch_size)
    bounds = [share.of(batches, rank) for rank in range(share.world)]
    ends = [min(each.stop * batch_size, len(images)) for each in bounds]
    starts = [0, *ends[:-1]]
    low, high = starts[share.rank], ends[share.rank]
    own: Logits = np.zeros((0, len(architecture.classes)), np.float32)
    if high > low:
        own = predict(model, images.stretch(low, high), architecture, batch_size)
    counts = [end - start for start, end in zip(starts, ends, strict=True)]
    joined: Logits = share.join(torch.from_numpy(own), counts).numpy()
    return joined
