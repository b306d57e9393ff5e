"""`soup predict` with a text model: classify the texts of tables."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from soup.data.text.columns import of_texts
from soup.data.text.examples import as_text_examples
from soup.data.text.tables import read_table
from soup.data.text.texts import Text, at
from soup.evaluation.metrics import predicted, with_finite_maximum
from soup.evaluation.predict import predict
from soup.models import Architecture, build
from soup.models.inputs import text_input_of
from soup.weights.checkpoint import Checkpoint

BATCH = 64


def predict_texts(
    checkpoint: Checkpoint,
    architecture: Architecture,
    tables: Sequence[Path],
    top: int,
    device: str,
) -> tuple[list[dict[str, Any]], list[str]]:
    """The likeliest classes of each text.

    Args:
        tables: files with a column 'text' and, for pairs, 'text_pair'.
        top: number of classes to return.

    Returns:
        For each text its place, the text and the probabilities of classes (empty if the model's
        logits are NaN), or its number (None if it is NaN); and a line for each text that was left
        out.

    Raises:
        DataError: a table cannot be read or lacks a column.
    """
    places: list[str] = []
    texts: list[Text] = []
    left_out: list[str] = []
    for file in tables:
        table = read_table(file)
        columns = of_texts(table.columns, file)
        for position, number in enumerate(table.numbers):
            text = at(table, columns, position)
            place = f"{file}, row {number}"
            if all(part.strip() for part in text if part is not None):
                places.append(place)
                texts.append(text)
            else:
                left_out.append(f"{place}: the text is empty")
        left_out += [f"{file}, row {n}: {reason}" for n, reason in table.malformed.items()]
    if not texts:
        return [], left_out
    network = build(architecture, checkpoint).to(device)
    examples = as_text_examples(texts, text_input_of(architecture))
    said = [" / ".join(part for part in text if part is not None) for text in texts]
    outputs = predict(network, examples, BATCH)
    if architecture.predicts_numbers:
        numbers = outputs[:, 0].tolist()
        return [
            {"row": place, "text": text, "number": number if math.isfinite(number) else None}
            for place, text, number in zip(places, said, numbers, strict=True)
        ], left_out
    logits = with_finite_maximum(outputs)
    shares = torch.from_numpy(logits).softmax(1).numpy()
    likeliest = np.argsort(-shares, axis=1, kind="stable")[:, :top]
    known = predicted(shares) >= 0
    names = architecture.classes
    answers = [
        {
            "row": place,
            "text": text,
            "classes": {names[i]: float(row[i]) for i in best} if is_known else {},
        }
        for place, text, row, best, is_known in zip(
            places, said, shares, likeliest, known, strict=True
        )
    ]
    return answers, left_out
