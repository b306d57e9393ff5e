"""Batches of texts of similar length, a function of (seed, epoch)."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from soup.data.text.examples import TextExamples
from soup.errors import BadInput
from soup.train.batches import steps_per_epoch
from soup.train.loop import Batch
from soup.train.rank import ALONE, Rank

# Texts of this many batches are sorted by length together. A larger number gives less padding and
# less random batches; Hugging Face's Trainer uses 50.
SORTED_TOGETHER = 50


def tokens(
    texts: TextExamples,
    batch_size: int,
    seed: int,
    device: torch.device,
    ranks: Rank = ALONE,
) -> Callable[[int, int], Iterator[Batch]]:
    """Batches for `fit`: shuffled, then sorted by length within `SORTED_TOGETHER` batches.

    An incomplete last batch is left out. A batch is padded to its longest text.

    Args:
        batch_size: texts in a batch, over all ranks.
        ranks: this process and the number of processes, in a run on several devices; each gets a
            contiguous part of a batch, padded to the longest text of the whole batch.

    Returns:
        (epoch, batches to skip) -> the remaining batches, each of model inputs and labels.

    Raises:
        BadInput: a batch has fewer texts than there are ranks.
    """
    size = min(batch_size, len(texts))
    if size < ranks.world:
        raise BadInput(f"a batch of {size} texts has none for some of {ranks.world} devices")
    part = ranks.of(size)

    def epoch_batches(epoch: int, skip: int) -> Iterator[Batch]:
        count = steps_per_epoch(len(texts), batch_size)
        for chosen in order(texts.tokens.lengths, count, size, seed, epoch)[skip:]:
            padded = texts.tokens.padded(chosen, texts.pad)[part.start : part.stop]
            labels = texts.labels[chosen[part.start : part.stop]]
            inputs = torch.from_numpy(padded).to(device, non_blocking=True).long()
            yield inputs, torch.from_numpy(labels).to(device, non_blocking=True)

    return epoch_batches


def order(
    lengths: NDArray[np.int64], count: int, size: int, seed: int, epoch: int
) -> list[NDArray[np.int64]]:
    """Indices of the texts of each batch of an epoch.

    Args:
        lengths: number of tokens of each text.
        count: number of batches.
        size: texts in a batch.
    """
    rng = np.random.default_rng([seed, epoch])
    shuffled = rng.permutation(len(lengths))[: count * size]
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(shuffled), SORTED_TOGETHER * size):
        together = shuffled[start : start + SORTED_TOGETHER * size]
        by_length = together[np.argsort(lengths[together], kind="stable")]
        batches += np.split(by_length, len(together) // size)
    return [batches[index] for index in rng.permutation(len(batches))]
