"""Labelled texts as a set of examples, with the interface `soup.evaluation.examples.Examples`.

A model takes texts as one tensor, as it takes images, so that judges, `predict`, the probe and the
training loop work for both. The tensor is whole numbers (batch, 2, length): the ids of the tokens,
and 1 + their types, which is 0 behind the end of a text.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from soup.data.errors import DataError
from soup.data.loading.image_store import ImageStore
from soup.data.split.manifest import Row
from soup.data.text.texts import Text
from soup.data.text.tokens import Encode, Tokens, digest, kept_tokens, tokens_of
from soup.errors import some

# The token budget of a batch, divided by the batch size. Batches of long texts have fewer examples,
# so that all batches take about the same memory and time.
BUDGET = 64


# How a text becomes a model's input (`soup.models.text_input`): a function from texts to tokens; a
# name for the tokenizer and its maximum length, as part of the key of cached tokens; the id of the
# padding token.
TextInput = tuple[Encode, str, int]


@dataclass(frozen=True)
class TextExamples:
    """Labelled texts, which are tokenised when the first batch is requested.

    Attributes:
        labels: class indices, int64 (examples,), or numbers to predict, float32 (examples,).
        digest: identifies the texts, their order and their tokenizer; '' if unknown.
        pad: id of the padding token.
        open: returns the tokens.
    """

    labels: NDArray[Any]
    digest: str
    pad: int
    open: Callable[[], Tokens]

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def tokens(self) -> Tokens:
        """
        Raises:
            DataError: a text is missing, or has changed since the split was made.
        """
        return self.open()

    def groups(self, indices: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
        """The examples at `indices` in batches of similar length, the longest first.

        A batch has at most `size` examples and, with padding, at most BUDGET * size tokens, unless
        a single example has more.
        """
        lengths = self.tokens.lengths[indices]
        order = np.argsort(-lengths, kind="stable")
        batches, start = [], 0
        while start < len(order):
            longest = max(1, int(lengths[order[start]]))
            stop = start + max(1, min(size, BUDGET * size // longest))
            batches.append(indices[order[start:stop]])
            start = stop
        return batches

    def batches(
        self, indices: NDArray[np.int64], size: int, device: torch.device
    ) -> Iterator[Tensor]:
        """The model's input on `device`, int64 (batch, 2, length), for each of the `groups`."""
        for group in self.groups(indices, size):
            yield torch.from_numpy(self.tokens.padded(group, self.pad)).to(device).long()

    def compact(self, indices: NDArray[np.int64]) -> Tensor:
        """The texts at `indices`, int32 (texts, 2, longest), on the CPU."""
        return torch.from_numpy(self.tokens.padded(indices, self.pad))

    def prepare(self, compact: Tensor, /) -> Tensor:
        """The model's input from a compact batch, without the padding that all texts share."""
        return trimmed(compact)


def trimmed(inputs: Tensor) -> Tensor:
    """Whole numbers (batch, 2, length) -> int64, cut to the length of the longest text."""
    longest = int((inputs[:, 1] > 0).sum(dim=1).max()) if len(inputs) else 0
    return inputs[:, :, : max(1, longest)].long()


def text_examples(
    store: ImageStore, rows: Sequence[Row], classes: Sequence[str], inputs: TextInput
) -> TextExamples:
    """The texts of one split, as a model takes them.

    Args:
        classes: class names; the position of a name is its label. A single one is the name of the
            number that the model predicts.
        inputs: the input of the model's architecture.

    Raises:
        DataError: the label of a row is not among the classes, or is no number.
    """
    encode, name, pad = inputs
    return TextExamples(
        labels_of([row.label for row in rows], classes),
        digest(rows, store.root, name),
        pad,
        lambda: kept_tokens(store, rows, encode, name),
    )


def labels_of(written: Sequence[str], classes: Sequence[str]) -> NDArray[Any]:
    """The labels of texts: class indices, int64 (examples,), or numbers, float32 (examples,).

    Args:
        written: the labels as a manifest has them.
        classes: as in `text_examples`.

    Raises:
        DataError: a label is not among the classes, or is no number.
    """
    if len(classes) == 1:
        wrong = sorted({label for label in written if not is_number(label)})
        if wrong:
            raise DataError(f"the model predicts numbers, and labels are none: {some(wrong, 10)}")
        return np.array([float(label) for label in written], dtype=np.float32)
    position = {label: index for index, label in enumerate(classes)}
    strange = sorted({*written} - {*classes})
    if strange:
        raise DataError(f"labels that the model does not know: {some(strange, 10)}")
    return np.array([position[label] for label in written], dtype=np.int64)


def is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def as_text_examples(texts: Sequence[Text], inputs: TextInput) -> TextExamples:
    """Examples from texts in memory, without labels."""
    labels = np.zeros(len(texts), dtype=np.int64)
    encode, _, pad = inputs
    return TextExamples(labels, "", pad, lambda: tokens_of(texts, encode))
