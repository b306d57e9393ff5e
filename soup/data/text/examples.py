"""Labelled texts as a set of examples: what a model is evaluated on, without its knowing texts.

`soup.evaluation.examples.Examples` is the interface. The input of a model is one tensor, as it is
for images, so that judges, `predict`, the probe and the training loop need not know what it holds:
whole numbers (batch, 2, length), the ids of tokens and 1 + their types, 0 behind the end of a text.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

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

# The token budget of a batch for each of the examples that a batch may have: batches of long texts
# have fewer examples, so that all take about the same memory and time.
BUDGET = 64


# How a text becomes a model's input (`soup.models.text_input`): texts -> tokens; a name of the
# tokenizer and of the length at which it cuts, as part of the key of cached tokens; the id of the
# token that texts are filled up with.
TextInput = tuple[Encode, str, int]


@dataclass(frozen=True)
class TextExamples:
    """Labelled texts, tokenised when a batch of them is first asked for.

    Attributes:
        labels: class indices, int64 (examples,).
        digest: names the texts, their order and how they are tokenised; '' if it is not known.
        pad: id of the token that texts are filled up with.
        open: gives the tokens.
    """

    labels: NDArray[np.int64]
    digest: str
    pad: int
    open: Callable[[], Tokens]

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def tokens(self) -> Tokens:
        """
        Raises:
            DataError: a text is missing or is not what it was when the split was made.
        """
        return self.open()

    def groups(self, indices: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
        """The examples at `indices` in batches of similar length, the longest first.

        A batch has at most `size` examples and, filled up to its longest, at most BUDGET * size
        tokens, unless one example alone has more.
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
        """The model's input from a batch of the compact form: without what all are filled with."""
        return trimmed(compact)


def trimmed(inputs: Tensor) -> Tensor:
    """Whole numbers (batch, 2, length) -> int64, cut to the longest of the batch."""
    longest = int((inputs[:, 1] > 0).sum(dim=1).max()) if len(inputs) else 0
    return inputs[:, :, : max(1, longest)].long()


def text_examples(
    store: ImageStore, rows: Sequence[Row], classes: Sequence[str], inputs: TextInput
) -> TextExamples:
    """Texts of one split, as a model takes them.

    Args:
        classes: class names; position is label.
        inputs: of the model's architecture.

    Raises:
        DataError: a row has a label that is none of the classes.
    """
    encode, name, pad = inputs
    position = {label: index for index, label in enumerate(classes)}
    strange = sorted({row.label for row in rows} - {*classes})
    if strange:
        raise DataError(f"labels that the model does not know: {some(strange, 10)}")
    return TextExamples(
        np.array([position[row.label] for row in rows], dtype=np.int64),
        digest(rows, store.root, name),
        pad,
        lambda: kept_tokens(store, rows, encode, name),
    )


def as_text_examples(texts: Sequence[Text], inputs: TextInput) -> TextExamples:
    """Texts that are in memory and have no labels."""
    labels = np.zeros(len(texts), dtype=np.int64)
    encode, _, pad = inputs
    return TextExamples(labels, "", pad, lambda: tokens_of(texts, encode))
