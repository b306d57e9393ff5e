"""Labelled images as a set of examples: what a model is evaluated on, without its knowing pictures.

`soup.evaluation.examples.Examples` is the interface. Images are decoded and resized to one size,
kept as uint8 and normalised a batch at a time, on the model's device.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from soup.data.loading.image_store import ImageStore
from soup.data.loading.images import Decode, Images, decoded, digest, labels_of
from soup.data.loading.prefetch import on_device, parts
from soup.data.split.manifest import Row

Prepare = Callable[[Tensor], Tensor]
# How an image becomes a model's input at evaluation (`soup.models.transforms.image_input`): image
# of any size -> PIL image of the size that the model takes; what that does, as part of the key of
# decoded images; uint8 (batch, 3, height, width) -> the model's input.
InputTransform = tuple[Decode, str, Prepare]


@dataclass(frozen=True)
class ImageExamples:
    """Labelled images, decoded when a batch of them is first asked for.

    Attributes:
        labels: class indices, int64 (examples,).
        digest: names the images, their order and how they are resized.
        prepare: uint8 (batch, 3, height, width) -> the model's input.
        open: gives the images, at one size.
    """

    labels: NDArray[np.int64]
    digest: str
    prepare: Prepare
    open: Callable[[], Images]

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def images(self) -> Images:
        """
        Raises:
            DataError: an image is missing or is not what it was when the split was made.
        """
        return self.open()

    def groups(self, indices: NDArray[np.int64], size: int) -> None:
        """Any images can be computed together."""
        del indices, size

    def batches(
        self, indices: NDArray[np.int64], size: int, device: torch.device
    ) -> Iterator[Tensor]:
        """The model's input on `device`, for the images at `indices`, `size` at a time."""
        pixels = ((to_tensor(part),) for part in parts(self.images, indices, size))
        for (batch,) in on_device(pixels, device, self.prepare):
            yield batch

    def compact(self, indices: NDArray[np.int64]) -> Tensor:
        """The images at `indices`, uint8 (images, 3, height, width), on the CPU."""
        return to_tensor(self.images.part(indices))


def examples(
    store: ImageStore, rows: Sequence[Row], classes: Sequence[str], inputs: InputTransform
) -> ImageExamples:
    """Images of one split, as a model takes them at evaluation.

    Args:
        classes: class names; position is label.
        inputs: of the model's architecture.
    """
    resize, name, prepare = inputs
    return ImageExamples(
        labels_of(rows, classes),
        digest(rows, store.root, name),
        prepare,
        lambda: decoded(store, rows, classes, resize, name),
    )


def as_examples(images: Images, inputs: InputTransform) -> ImageExamples:
    """Images that are open already; those that have no size in common are resized when read."""
    resize, _, prepare = inputs
    if images.pixels is None and images.resize is None:
        images = replace(images, resize=resize)
    return ImageExamples(images.labels, images.digest, prepare, lambda: images)


def to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """uint8 (batch, height, width, 3) -> (batch, 3, height, width), of the same memory.

    Its channels are last already, as `normalise` leaves them: 0.7 times the time of a copy in the
    usual order, which would be turned back there.
    """
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)
