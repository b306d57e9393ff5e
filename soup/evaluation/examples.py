"""The interface of labelled examples, of any kind, that models are evaluated on.

The judges, `predict` and the linear probe use this interface, so that they do not depend on images
or texts; `soup.data.loading.examples` implements it for images, `soup.data.text.examples` for
texts. The input of a model is one tensor in either case.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Examples(Protocol):
    """Labelled examples, each addressed by its index."""

    @property
    def labels(self) -> NDArray[Any]:
        """Class indices, int64 (examples,), or numbers to predict, float32 (examples,)."""

    @property
    def digest(self) -> str:
        """Identifies the examples, their order and their preprocessing; '' if it is not known."""

    def __len__(self) -> int: ...

    def groups(self, indices: NDArray[np.int64], size: int) -> list[NDArray[np.int64]] | None:
        """The examples at `indices` by batches that are computed together, of about `size`.

        None if any examples can be, in any order: then a batch is the next `size` of them.
        """

    def batches(
        self, indices: NDArray[np.int64], size: int, device: torch.device
    ) -> Iterator[Tensor]:
        """The model's input on `device` for the examples at `indices`, batch by batch.

        The batches are the `groups`, or `size` examples at a time in the given order.
        """

    def compact(self, indices: NDArray[np.int64]) -> Tensor:
        """The examples at `indices` on the CPU, in the smallest form that needs no decoding.

        For a caller that visits the same examples many times and keeps them on the device.
        """

    def prepare(self, compact: Tensor, /) -> Tensor:
        """The model's input from a batch of the compact form, on the same device."""
