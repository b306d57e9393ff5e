"""What a model is evaluated on: labelled examples, of whatever kind.

Judges, predictors and the linear probe know no pictures; `soup.data.loading.examples` makes
examples of images.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Examples(Protocol):
    """A set of labelled examples, each known by its index."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class indices, (examples,)."""

    @property
    def digest(self) -> str:
        """Names the examples, their order and what is done to them; '' if nobody named them."""

    def __len__(self) -> int: ...

    def batches(
        self, indices: NDArray[np.int64], size: int, device: torch.device
    ) -> Iterator[Tensor]:
        """The model's input on `device`, for the examples at `indices`, `size` at a time."""

    def compact(self, indices: NDArray[np.int64]) -> Tensor:
        """The examples at `indices` on the CPU, in the smallest form that needs no decoding.

        For those who visit the same examples many times, and hold them on the model's device.
        """

    def prepare(self, compact: Tensor, /) -> Tensor:
        """A batch of the compact form, on any device -> the model's input."""
