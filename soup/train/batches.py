"""Batches of augmented images, each image's augmentation a function of (seed, epoch, index)."""

import sys
from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from soup.data.loading.images import Images
from soup.data.loading.prefetch import on_device
from soup.errors import BadInput
from soup.models.transforms import seed_all, seeds
from soup.train.loop import Batch

Place = tuple[int, int]  # an image's index, and the seed of its augmentation


class _Augmented(Dataset[tuple[Tensor, int]]):
    """Without a state, so that the same workers serve every epoch."""

    def __init__(self, images: Images, transform: Callable[[Image.Image], Tensor]) -> None:
        self._images = images
        self._transform = transform

    def __getitem__(self, place: Place) -> tuple[Tensor, int]:
        index, seed = place
        seed_all(seed)
        return self._transform(self._images[index]), int(self._images.labels[index])


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Full batches in one pass; a set smaller than a batch makes one batch of what there is."""
    return max(1, count // batch_size)


def workers_for(cores: int, device: torch.device) -> int:
    """How many processes decode and augment for a fine-tune that has so many cores to itself.

    A GPU leaves the cores free but for one. On the CPU they compute as well: with two of them
    workers cost a fifth of the images a second (`benchmarks/train.py`).
    """
    return max(1, cores - 1) if device.type == "cuda" else max(0, cores // 2 - 1)


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
        batch_size: images in a batch, those of all ranks together.
        workers: processes that decode and augment; any number gives the same batches. They are
            forked at the first batch, and stay until the result of this function is gone.
        rank, world: of a run on several devices. Every rank gets a share of each batch, in order:
            all shares together are the batch of a run on one.

    Raises:
        BadInput: a batch has fewer images than there are ranks.
    """
    size = min(batch_size, len(images))
    if size < world:
        raise BadInput(f"a batch of {size} images has none for some of {world} devices")
    first, last = size * rank // world, size * (rank + 1) // world
    plan: list[list[Place]] = []
    loader: DataLoader[tuple[Tensor, int]] = DataLoader(
        _Augmented(images, transform),
        batch_sampler=_Plan(plan),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
        # Forked from this process, which has imported everything; the default of newer Pythons
        # starts a server of its own first, for seconds. A worker never touches a GPU.
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
    )

    def epoch_batches(epoch: int, skip: int) -> Iterator[Batch]:
        order = np.random.default_rng([seed, epoch]).permutation(len(images))
        own = seeds(len(images), seed, 0, epoch)
        count = steps_per_epoch(len(images), batch_size)
        chosen = [order[i * size + first : i * size + last] for i in range(skip, count)]
        plan[:] = [[*zip(part.tolist(), own[part].tolist(), strict=True)] for part in chosen]
        yield from on_device(loader, device, prepare)  # type: ignore[misc] # two tensors each

    return epoch_batches


class _Plan:
    """The places of each batch of the present epoch, for a loader that outlives it."""

    def __init__(self, plan: list[list[Place]]) -> None:
        self._plan = plan

    def __iter__(self) -> Iterator[list[Place]]:
        return iter([*self._plan])

    def __len__(self) -> int:
        return len(self._plan)
