"""Prediction divided among the ranks of a fine-tune."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from soup.evaluation.examples import Examples
from soup.evaluation.metrics import Logits
from soup.evaluation.predict import batches_of, predict, split
from soup.train.rank import Rank


def answers(
    model: nn.Module,
    examples: Examples,
    classes: int,
    batch_size: int,
    ranks: Rank,
    indices: NDArray[np.int64] | None = None,
) -> Logits:
    """Raw logits, float32 (examples, classes), returned on every rank.

    Each rank predicts whole batches, so that every logit equals that of a single device.

    Args:
        classes: number of the model's classes.
        batch_size: images a pass.
        ranks: this process among those that run the fine-tune.
        indices: of the examples that are meant, in ascending order; None: all.
    """
    everything = np.arange(len(examples)) if indices is None else indices
    if ranks.world == 1:
        return predict(model, examples, batch_size, indices=everything)
    device = next(model.parameters()).device
    size = batches_of(examples, everything, batch_size, device).size
    batches = split(examples, everything, size)
    bounds = [ranks.of(len(batches), rank) for rank in range(ranks.world)]
    none = np.zeros(0, np.int64)
    parts = [np.concatenate([none, *batches[part.start : part.stop]]) for part in bounds]
    logits: Logits = np.zeros((0, classes), np.float32)
    if len(parts[ranks.rank]):
        logits = predict(model, examples, batch_size, indices=parts[ranks.rank])
    joined = ranks.join(torch.from_numpy(logits), [len(part) for part in parts]).numpy()
    answers: Logits = joined[np.concatenate(parts).argsort()]
    return answers
