"""Turn texts into a model's input, with the tokenizer that is stored with the model.

The library `tokenizers` loads the tokenizer from its file, without transformers. The settings of
padding and cutting in the file are ignored, because they are those of the program that last saved
it.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from soup.errors import BadInput
from soup.files import of_value

TOKENIZER_FILE = "tokenizer.json"
SETTINGS_FILE = "tokenizer_config.json"
SPARE = 1000  # unused rows of an embedding: models round the number of rows up, but by less


class TokenizerError(BadInput, ValueError):
    """A tokenizer cannot be used, or does not belong to this model; the message says why."""


class Pieces(NamedTuple):
    """The tokens of one text or pair, special tokens included.

    Attributes:
        ids: ids of the tokens in the vocabulary.
        types: 0 for tokens of the first text, 1 for those of the second.
        uncut: number of tokens before the text was cut to the model's maximum length.
    """

    ids: Sequence[int]
    types: Sequence[int]
    uncut: int


class TextInput(NamedTuple):
    """How a text becomes a model's input.

    Attributes:
        encode: texts -> their tokens, cut to the model's maximum length.
        name: identifies the tokenizer and the maximum length; part of the key of cached tokens.
        pad: id of the padding token.
    """

    encode: Callable[[Sequence[tuple[str, str | None]]], Sequence[Pieces]]
    name: str
    pad: int


SLOT = re.compile(r"\{(text|text_pair)\}")


def filled(prompt: str, text: str, pair: str | None) -> str:
    """A prompt with a text and, if it has a place for it, the second text of a pair."""
    given = {"text": text, "text_pair": pair or ""}
    return SLOT.sub(lambda slot: given[slot[1]], prompt)


@lru_cache(maxsize=8)
def text_input(
    tokenizer: str, max_length: int, pad: int, types: bool = True, prompt: str = ""
) -> TextInput:
    """Make the input of a model.

    Args:
        tokenizer: the content of the tokenizer's file.
        max_length: maximum number of tokens, including special tokens.
        pad: id of the padding token.
        types: whether the model distinguishes the tokens of two texts; if not, all types are 0.
        prompt: what the model reads, with {text} and {text_pair}; '' for the text or pair itself.

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
        batch: Any = [
            filled(prompt, text, pair) if prompt else text if pair is None else (text, pair)
            for text, pair in texts
        ]
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

    return TextInput(
        encode, of_value([tokenizer, max_length, pad, types, *([prompt] if prompt else [])]), pad
    )


def opened(tokenizer: str) -> Any:
    """Load a tokenizer from the content of its file.

    Raises:
        TokenizerError: the content is not that of a tokenizer.
    """
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(tokenizer)
    except Exception as error:  # the library raises plain exceptions
        raise TokenizerError(f"{TOKENIZER_FILE} is no tokenizer: {error}") from None


def require_vocabulary(tokenizer: str, rows: int, model: str) -> None:
    """Check that a tokenizer belongs to a model, by the size of their vocabularies.

    Args:
        rows: number of rows of the model's token embedding.
        model: name of the model, for the error message.

    Raises:
        TokenizerError: a token has no row, or there are far more rows than tokens.
    """
    ids = opened(tokenizer).get_vocab(with_added_tokens=True).values()
    tokens = max(ids, default=-1) + 1
    if tokens > rows or rows - tokens > SPARE:
        raise TokenizerError(
            f"the tokenizer does not belong to {model}: it has {tokens:,} tokens, the model's "
            f"vocabulary {rows:,}; give the tokenizer that the model was trained with"
        )
