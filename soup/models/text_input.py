"""From texts to a model's input: the tokenizer that travels with the model.

The tokenizer is run by the `tokenizers` library from its own file, which needs no transformers.
Padding and cutting of that file are not used: it keeps those of whoever saved it last.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from soup.errors import BadInput
from soup.files import of_value

TOKENIZER_FILE = "tokenizer.json"
SETTINGS_FILE = "tokenizer_config.json"
SPARE = 1000  # rows of an embedding that no token has: models round their number up, not by more


class TokenizerError(BadInput, ValueError):
    """A tokenizer that cannot be used, or not with this model; the message says why."""


class Pieces(NamedTuple):
    """The tokens of one text or pair, special tokens included.

    Attributes:
        ids: of the tokens in the vocabulary.
        types: 0 for tokens of the first text, 1 for those of the second.
        uncut: how many tokens there were before the text was cut to what the model takes.
    """

    ids: Sequence[int]
    types: Sequence[int]
    uncut: int


class TextInput(NamedTuple):
    """How a text becomes a model's input.

    Attributes:
        encode: texts -> their tokens, cut to what the model takes.
        name: names the tokenizer, and at what length it cuts; part of the key of cached tokens.
        pad: id of the token that texts are filled up with.
    """

    encode: Callable[[Sequence[tuple[str, str | None]]], Sequence[Pieces]]
    name: str
    pad: int


@lru_cache(maxsize=8)
def text_input(tokenizer: str, max_length: int, pad: int, types: bool = True) -> TextInput:
    """The input of a model.

    Args:
        tokenizer: the content of the tokenizer's file.
        max_length: tokens that the model takes at most, special ones included.
        pad: id of the token that texts are filled up with.
        types: whether the model is told which of two texts a token is of; else all types are 0.

    Raises:
        TokenizerError: the tokenizer cannot be read.
    """
    whole, cutting = opened(tokenizer), opened(tokenizer)
    side = (whole.truncation or {}).get("direction", "right")
    for each in (whole, cutting):
        each.no_padding()
        each.no_truncation()
    cutting.enable_truncation(max_length, strategy="longest_first", direction=side)

    def encode(texts: Sequence[tuple[str, str | None]]) -> list[Pieces]:
        batch: Any = [text if pair is None else (text, pair) for text, pair in texts]
        encodings = cutting.encode_batch(batch)
        cut = [i for i, encoding in enumerate(encodings) if encoding.overflowing]
        lengths = {i: len(whole.encode_batch([batch[i]])[0].ids) for i in cut}
        return [
            Pieces(
                encoding.ids,
                encoding.type_ids if types else [0] * len(encoding.ids),
                lengths.get(i, len(encoding.ids)),
            )
            for i, encoding in enumerate(encodings)
        ]

    return TextInput(encode, of_value([tokenizer, max_length, pad, types]), pad)


def opened(tokenizer: str) -> Any:
    """The tokenizer of a file's content.

    Raises:
        TokenizerError: it is none.
    """
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(tokenizer)
    except Exception as error:  # the library raises plain exceptions
        raise TokenizerError(f"{TOKENIZER_FILE} is no tokenizer: {error}") from None


def require_vocabulary(tokenizer: str, rows: int, model: str) -> None:
    """Check that a tokenizer belongs to a model, by the size of their vocabularies.

    Args:
        rows: of the model's embedding of tokens.
        model: its name, for the message.

    Raises:
        TokenizerError: a token has no row, or far more rows than tokens.
    """
    ids = opened(tokenizer).get_vocab(with_added_tokens=True).values()
    tokens = max(ids, default=-1) + 1
    if tokens > rows or rows - tokens > SPARE:
        raise TokenizerError(
            f"the tokenizer does not belong to {model}: it has {tokens:,} tokens, the model's "
            f"vocabulary {rows:,}; give the tokenizer that the model was trained with"
        )
