"""The tokens of a split's texts, computed once, cached and memory-mapped."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soup.data.loading.image_store import ImageStore
from soup.data.split.manifest import Row
from soup.data.text.texts import Text, open_texts
from soup.files import of_code, of_libraries, of_value

_log = logging.getLogger(__name__)
PART = 4096  # texts that are tokenised at a time


# Texts -> for each text: the ids of its tokens, with special tokens, cut to the maximum length;
# their types (0 in the first text, 1 in the second); the number of tokens before the cut.
Encode = Callable[[Sequence[Text]], Sequence[tuple[Sequence[int], Sequence[int], int]]]


@dataclass(frozen=True)
class Tokens:
    """The tokens of several texts, one after the other.

    Attributes:
        flat: int32 (tokens, 2): the id of each token, and 1 + its type.
        lengths: int64 (texts,), number of tokens of each text.
        uncut: int64 (texts,), the same before cutting.
    """

    flat: NDArray[np.int32]
    lengths: NDArray[np.int64]
    uncut: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def cut(self) -> str:
        """How many texts were cut, in a sentence; '' if none was."""
        cut = int((self.uncut > self.lengths).sum())
        if not cut:
            return ""
        return (
            f"{cut} of {len(self)} texts are cut to the {self.lengths.max()} tokens that the model "
            f"takes (base.max_length); the longest has {self.uncut.max()}"
        )

    def padded(self, indices: NDArray[np.int64], pad: int) -> NDArray[np.int32]:
        """Some texts, padded to the longest of them.

        Args:
            pad: id of the padding token.

        Returns:
            int32 (texts, 2, longest): the ids; and 1 + the types, which is 0 in the padding.
        """
        lengths = self.lengths[indices]
        longest = int(lengths.max(initial=1))
        out = np.zeros((len(indices), 2, longest), np.int32)
        out[:, 0] = pad
        present = np.arange(longest) < lengths[:, None]
        starts = (self.lengths.cumsum() - self.lengths)[indices]
        chosen = (starts[:, None] + np.arange(longest))[present]
        out.transpose(0, 2, 1)[present] = self.flat[chosen]
        return out


def tokens_of(texts: Sequence[Text], encode: Encode) -> Tokens:
    """Tokenise texts in memory."""
    lengths, flat = _tokenised(texts, encode)
    return Tokens(flat, lengths[:, 0], lengths[:, 1])


def digest(rows: Sequence[Row], root: Path, name: str) -> str:
    """A digest that identifies the tokens of a manifest's rows.

    Args:
        root: the data root.
        name: identifies the tokenizer and its maximum length.
    """
    code = [of_code("soup.data.text.tokens"), of_libraries("tokenizers", "transformers")]
    return of_value(["tokens", code, name, str(root), [[row.path, row.content] for row in rows]])


def kept_tokens(store: ImageStore, rows: Sequence[Row], encode: Encode, name: str) -> Tokens:
    """The tokens of a manifest's rows, memory-mapped from the cache; computed if not cached.

    Args:
        store: the data root and the cache.
        name: identifies the tokenizer and its maximum length.

    Raises:
        DataError: a text is missing, or has changed since the split was made.
    """
    key = digest(rows, store.root, name)

    @once
    def tokenised() -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        with store.progress("tokenising", len(rows)) as advance:
            made = _tokenised(open_texts(store.root, rows), encode, advance)
        told = Tokens(made[1], made[0][:, 0], made[0][:, 1]).cut
        if told:
            _log.warning("%s", told)
        return made

    def array(what: str, count: int, part: int) -> NDArray[Any]:
        def blocks() -> Iterator[NDArray[Any]]:
            yield tokenised()[part]

        kept = store.array(of_value([what, key]), count, blocks, "texts are tokenised each time")
        return tokenised()[part] if kept is None else kept

    lengths = array("lengths", len(rows), 0)
    flat = array("tokens", int(lengths[:, 0].sum()), 1)
    return Tokens(flat, lengths[:, 0], lengths[:, 1])


def _tokenised(
    texts: Sequence[Text], encode: Encode, advance: Callable[[int], object] = lambda _: None
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return int64 (texts, 2), the lengths after and before cutting, and `Tokens.flat`."""
    lengths, flat = [np.zeros((0, 2), np.int64)], [np.zeros((0, 2), np.int32)]
    for start in range(0, len(texts), PART):
        encoded = encode(texts[start : start + PART])
        lengths.append(np.array([(len(ids), uncut) for ids, _, uncut in encoded], np.int64))
        ids = np.concatenate([np.asarray(ids, np.int32) for ids, _, _ in encoded])
        types = np.concatenate([np.asarray(types, np.int32) for _, types, _ in encoded])
        flat.append(np.stack([ids, 1 + types], axis=1))
        advance(len(encoded))
    return np.concatenate(lengths), np.concatenate(flat)
