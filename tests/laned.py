"""Examples and networks whose passes are computed in lanes by tests, and which thread did."""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from soup.data.loading.examples import ImageExamples, as_examples
from soup.data.loading.images import Images
from soup.data.text.examples import TextExamples
from soup.data.text.tokens import Tokens
from soup.models.transforms import image_input
from tests.worlds import tiny

Lanes = Callable[[int], None]  # gives this process so many cores
thread_of_batch: list[str] = []


class Told(nn.Module):
    """A network that tells, outside itself, which threads computed with it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Any:
        thread_of_batch.append(threading.current_thread().name)
        time.sleep(0.001)  # so that each lane gets its turn
        return self.network(inputs)


def pictures(count: int = 99) -> ImageExamples:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, 20, 20, 3), dtype=np.uint8)
    of = tiny()[0]
    return as_examples(Images(pixels, rng.integers(0, 3, count), ()), image_input(of))


def texts(count: int = 99) -> TextExamples:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 30, count)
    flat = np.ones((lengths.sum(), 2), np.int32)
    flat[:, 0] = rng.integers(1, 50, len(flat))
    tokens = Tokens(flat, lengths, lengths)
    return TextExamples(rng.integers(0, 3, count), "", 0, lambda: tokens)


class OfTexts(nn.Module):
    """The mean of a layer over a text's tokens."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.layer = nn.Embedding(50, 64), nn.Linear(64, 64)
        self.head = nn.Linear(64, 3)

    def forward(self, inputs: Tensor) -> Any:
        present = (inputs[:, 1:] > 0).transpose(1, 2)
        hidden = self.layer(self.words(inputs[:, 0])).tanh() * present
        return self.head(hidden.sum(1) / present.sum(1))
