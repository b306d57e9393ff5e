"""Batches of augmented images, each image's augmentation a function of (seed, epoch, index)."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from soup.data.errors import Unreadable
from soup.data.loading.images import Images
from soup.data.loading.prefetch import on_device
from soup.errors import BadInput, Failure
from soup.models.transforms import seed_all, seeds
from soup.train.loop import Batch
from soup.train.rank import ALONE, Rank

Draw = tuple[int, int]  # an image's index, and the seed of its augmentation
Example = tuple[Tensor, int, str]  # of the last: why the image was replaced; '' if it was not
IN_A_ROW = 50  # images that fail one after the other, as in timm: not they are at fault then


class _Augmented(Dataset[Example]):
    """Images by (index, seed); it has no state, so that the same workers serve every epoch.

    The next image stands in for one that cannot be decoded or augmented, as in timm.
    """

    def __init__(self, images: Images, transform: Callable[[Image.Image], Tensor]) -> None:
        self._images = images
        self._transform = transform

    def __getitem__(self, draw: Draw) -> Example:
        index, seed = draw
        problem = ""
        for following in range(index, index + IN_A_ROW):
            used = following % len(self._images)
            seed_all(seed)
            try:
                picture = self._transformed(used)
            except _Unusable as error:
                problem = problem or str(error)
            else:
                return picture, int(self._images.labels[used]), problem
        raise Failure(f"{IN_A_ROW} images in a row cannot be used, the first of them: {problem}")

    def _transformed(self, index: int) -> Tensor:
        try:
            image = self._images[index]
        except Unreadable as error:
            raise _Unusable(str(error)) from None
        try:
            return self._transform(image)
        except MemoryError:
            raise
        except Exception as error:  # whatever an operation raises for an odd picture
            path = self._images.paths[index]
            raise _Unusable(
                f"{path}: augmenting it failed: {type(error).__name__}: {error}"
            ) from None


class _Unusable(Exception):
    """An image that cannot be decoded or augmented; the message names it and says why."""


class Replaced:
    """Tells of each image that another stands in for, and counts how often that happens."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._times: Counter[str] = Counter()

    def __call__(self, problem: str) -> None:
        if problem not in self._times:
            self._say(f"{problem}; the next image stands in for it")
        self._times[problem] += 1

    def tell_total(self) -> None:
        """Say how often an image was replaced, if one was."""
        if self._times:
            times = f"{self._times.total()} times in all, for {len(self._times)} reasons"
            self._say(f"the next image stood in for one that cannot be used: {times}")


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Number of full batches in an epoch; a set smaller than a batch is one batch."""
    return max(1, count // batch_size)


def workers_for(cores: int, device: torch.device) -> int:
    """Number of processes that decode and augment images for a fine-tune.

    On a GPU, all cores but one are free for it. On the CPU, the cores compute as well: with two
    cores, workers lower the images per second by a fifth (`benchmarks/train.py`).

    Args:
        cores: those that this fine-tune has to itself.
        device: where the model computes.
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
    ranks: Rank = ALONE,
    replaced: Callable[[str], object] = lambda _: None,
) -> Callable[[int, int], Iterator[Batch]]:
    """Batches for `fit`, shuffled by (seed, epoch); an incomplete last batch is left out.

    Args:
        transform: image -> uint8 tensor.
        prepare: batch of such tensors, on the device -> model input.
        batch_size: images in a batch of all ranks together.
        workers: processes that decode and augment; any number gives the same batches. They are
            forked at the first batch, and end when the returned function is deleted.
        ranks: this process among those of a run on several devices. Each rank gets a contiguous
            part of each batch; the parts together are the batch of a single device.
        replaced: called with the reason each time that the next image stands in for one which
            cannot be decoded or augmented.

    Returns:
        (epoch, batches to skip) -> the remaining batches, each of model inputs and labels.

    Raises:
        BadInput: a batch has fewer images than there are ranks.
        Failure: (while batches are made) many images in a row cannot be used.
    """
    size = min(batch_size, len(images))
    if size < ranks.world:
        raise BadInput(f"a batch of {size} images has none for some of {ranks.world} devices")
    part = ranks.of(size)
    plan: list[list[Draw]] = []  # the batches of the current epoch, for a loader of all epochs
    loader: DataLoader[Example] = DataLoader(
        _Augmented(images, transform),
        batch_sampler=plan,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
        # This process has imported everything already. The default of newer Pythons first starts
        # a server, which takes seconds. Forking is safe: a worker never touches a GPU.
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
    )

    def told() -> Iterator[Batch]:
        for inputs, labels, problems in loader:
            for problem in filter(None, problems):
                replaced(problem)
            yield inputs, labels

    def epoch_batches(epoch: int, skip: int) -> Iterator[Batch]:
        order = np.random.default_rng([seed, epoch]).permutation(len(images))
        image_seeds = seeds(len(images), seed, 0, epoch)
        count = steps_per_epoch(len(images), batch_size)
        chosen = [order[i * size :][part.start : part.stop] for i in range(skip, count)]
        plan[:] = [[*zip(c.tolist(), image_seeds[c].tolist(), strict=True)] for c in chosen]
        yield from on_device(told(), device, prepare)  # type: ignore[misc] # two tensors each

    return epoch_batches
