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
    everything = np.arange(len(examples))
    parts = [everything[part.start * batch_size : part.stop * batch_size] for part in bounds]
    logits: Logits = np.zeros((0, classes), np.float32)
    if len(parts[ranks.rank]):
        logits = predict(model, examples, batch_size, indices=parts[ranks.rank])
    joined: Logits = ranks.join(torch.from_numpy(logits), [len(part) for part in parts]).numpy()
    return joined
