"""Classify texts or pairs of texts: a row for each, with label and probabilities, or an error."""

import math
from collections.abc import Iterable, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from soup.data.text.examples import as_text_examples
from soup.data.text.texts import Text
from soup.evaluation.metrics import Logits
from soup.evaluation.predict import predict
from soup.models import Architecture, open_model
from soup.models.inputs import text_input_of
from soup.serving.classifier import answers, as_frame, refused

BATCH = 64  # texts in one forward pass
CHARACTERS = 100_000  # of a text; every model cuts texts far below this length


class TextClassifier:
    """Classifies texts with the model in a folder.

    Attributes:
        noun: what the model classifies, for people.
        columns: names of the columns of a request; the first one is required.
        batch: about as many texts are worth a forward pass together.
        reading: says what `read` makes of an example; models with the same can share it.
    """

    noun = "texts"
    columns: tuple[str, ...] = ("text", "text_pair")
    batch = BATCH
    reading = "text"  # the tokenizer comes later, in `logits`

    def __init__(self, folder: Path, model: tuple[Architecture, nn.Module] | None = None) -> None:
        """
        Args:
            folder: holds `model.json` and `model.safetensors`.
            model: that of the folder, if it is open already.
        """
        self.architecture, self._model = model or open_model(folder)
        self._inputs = text_input_of(self.architecture)

    def predict(self, texts: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Classify texts or pairs of texts.

        Args:
            texts: a frame with a column 'text' and, for pairs, 'text_pair'; a dictionary of such
                columns; or a list, each entry a text, two texts, or a dictionary of 'text' and
                'text_pair'.

        Returns:
            A row for each text: 'label', its 'probability', 'probabilities' by class, and 'error';
            or 'number' and 'error', if the model predicts numbers.
            If a text cannot be used, its row has the reason in 'error' and None in the other
            columns; all other texts are classified.

        Raises:
            ValueError: there are no texts.
        """
        del params
        rows = self.rows(self.read(text_entries(texts)))
        return _number_frame(rows) if self.architecture.predicts_numbers else as_frame(rows)

    def read(self, entries: Iterable[Any]) -> list[Text | str]:
        """Check the entries of a request.

        Returns:
            For each entry its text or pair, or the reason why it cannot be used.
        """
        return [_read(entry) for entry in entries]

    def rows(self, texts: Sequence[Text | str]) -> list[Any]:
        """Classify what `read` returned, in batches of similar length and bounded tokens.

        Returns:
            A row for each, as `predict` describes them.
        """
        usable = [text for text in texts if isinstance(text, Text)]
        numeric = self.architecture.predicts_numbers
        rows: list[Any] = []
        if usable:
            logits = self.logits(usable)
            rows = (
                [_number(output) for output in logits[:, 0].tolist()]
                if numeric
                else [*answers(logits, self.architecture.classes)]
            )
        remaining = iter(rows)
        no = _no_number if numeric else refused
        return [no(text) if isinstance(text, str) else next(remaining) for text in texts]

    def logits(self, texts: Sequence[Text]) -> Logits:
        """The logits (texts, classes) of what `read` returned; of numbers, one column of these."""
        return predict(self._model, as_text_examples(texts, self._inputs), BATCH)

    def try_out(self) -> None:
        """Classify a text, so that a model that cannot raises its error now."""
        self.rows([Text("a")])


def _no_number(reason: object) -> dict[str, Any]:
    return {"number": None, "error": str(reason)}


def _number(output: float) -> dict[str, Any]:
    if not math.isfinite(output):
        return _no_number("the model's output is not a number")
    return {"number": output, "error": None}


def _number_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The rows of predicted numbers; a missing one is None, because JSON has no NaN."""
    whole = not any(row["error"] for row in rows)
    numbers = pd.Series([row["number"] for row in rows], dtype=float if whole else object)
    errors = pd.Series([row["error"] for row in rows], dtype=object)
    return pd.DataFrame({"number": numbers, "error": errors})


def text_entries(texts: Any) -> list[Any]:
    """The entries of a request; each is a text, two texts or a dictionary.

    Raises:
        ValueError: there are no entries, or there is no column 'text'.
    """
    if isinstance(texts, pd.DataFrame | Mapping):
        if "text" not in texts:
            raise ValueError(f"expected a column 'text', got {list(texts)[:10]}")
        first, second = texts["text"], texts.get("text_pair")
        if isinstance(first, str):
            first, second = [first], second if second is None else [second]
        if second is not None and len(first) != len(second):
            raise ValueError(f"{len(first)} entries of 'text' and {len(second)} of 'text_pair'")
        entries = [*first] if second is None else [*zip(first, second, strict=True)]
    elif isinstance(texts, str | bytes) or not isinstance(texts, Sized):
        raise ValueError(f"expected a list of texts, got {type(texts).__name__}")
    else:
        entries = texts.tolist() if isinstance(texts, np.ndarray) else [*texts]  # type: ignore[misc]
    if not entries:
        raise ValueError("no texts were given")
    return entries


def _read(entry: Any) -> Text | str:
    """An entry as a text or pair, or the reason why it cannot be used."""
    if isinstance(entry, Mapping):
        entry = (entry.get("text"), entry.get("text_pair"))
    both = tuple(entry) if isinstance(entry, list | tuple) else (entry,)
    if len(both) == 2 and (both[1] is None or both[1] != both[1]):  # NaN
        both = both[:1]
    if len(both) not in (1, 2) or not all(isinstance(text, str) for text in both):
        return f"expected a text or two, got {type(entry).__name__}"
    if not all(text.strip() for text in both):
        return "the text is empty"
    if not all(map(_whole, both)):
        return "the text holds half a character (a surrogate without its other half)"
    longest = max(map(len, both))
    if longest > CHARACTERS:
        return f"a text of {longest:,} characters; at most {CHARACTERS:,} are taken"
    return Text(*both)


def _whole(text: str) -> bool:
    """Whether a text can be written in UTF-8, as the tokenizer needs it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
