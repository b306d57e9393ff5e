"""Batches of augmented images, each image's augmentation a function of (seed, epoch, index)."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from soup.data.images import Images
from soup.data.transforms import seed_all, seeds
from soup.train.loop import Batch


class _Augmented(Dataset[tuple[Tensor, int]]):
    def __init__(
        self,
        images: Images,
        transform: Callable[[Image.Image], Tensor],
        seed: int,
        epoch: int,
    ) -> None:
        self._images = images
        self._transform = transform
        self._seeds = seeds(len(images), seed, 0, epoch)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        seed_all(int(self._seeds[index]))
        return self._transform(self._images[index]), int(self._images.labels[index])


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Full batches in one pass; a set smaller than a batch makes one batch of what there is."""
    return max(1, count // batch_size)


def augmented(
    images: Images,
    transform: Callable[[Image.Image], Tensor],
    prepare: Callable[[Tensor], Tensor],
    batch_size: int,
    seed: int,
    device: torch.device,
    workers: int = 0,
    rank: int = 0,
    world: int = 1,
) -> Callable[[int, int], Iterator[Batch]]:
    """Batches for `fit`: shuffled by (seed, epoch), the last incomplete one left out.

    Args:
        transform: image -> uint8 tensor.
        prepare: batch of these, on the device -> model input.
        workers: processes that decode and augment; any number gives the same batches.
        rank, world: of a run on several devices; each rank gets a stretch of every batch.
    """

    def epoch_batches(epoch: int, skip: int) -> Iterator[Batch]:
        order = np.random.default_rng([seed, epoch]).permutation(len(images))
        size = min(batch_size, len(images))
        count = steps_per_epoch(len(images), batch_size)
        first, last = size * rank // world, size * (rank + 1) // world
        plan: Sequence[list[int]] = [
            order[i * size + first : i * size + last].tolist() for i in range(skip, count)
        ]
        loader: DataLoader[tuple[Tensor, int]] = DataLoader(
            _Augmented(images, transform, seed, epoch), batch_sampler=plan, num_workers=workers
        )
        for pixels, labels in loader:
            yield prepare(pixels.to(device)), labels.to(device)

    return epoch_batches
