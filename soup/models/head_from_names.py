"""A text classifier's head made from the names of the classes, by the encoder itself."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from soup.config.params import Base
from soup.models.architecture import ModelError
from soup.models.labels_as_text import WRITERS
from soup.models.text_input import TextInput
from soup.models.transformers_models import features


def require_pooled(base: Base, values: Any, lacking: str) -> None:
    """Check that the head's input is something that the model was trained to compute.

    Raises:
        ModelError: a layer before the head would be random, or the model is an encoder-decoder.
    """
    reason = "its weights are random" if base.weights == "random" else lacking
    if values["model_type"] in WRITERS:
        reason = "an encoder-decoder writes its labels: take head: text"
    if reason:
        raise ModelError(
            f"base.head: zeroshot compares texts with class names by {base.model}'s pooled output, "
            f"and {reason}; or take head: new"
        )


@torch.no_grad()
def head_from_names(
    model: nn.Module, linear: nn.Linear, inputs: TextInput, names: Sequence[str]
) -> None:
    """Make the rows of the head from the features of the class names, in place.

    A row is the name's features less the mean of all names, with a length of 1.
    """
    pieces = inputs.encode([(name.replace("_", " "), None) for name in names])
    tokens = torch.zeros(len(pieces), 2, max(len(piece.ids) for piece in pieces), dtype=torch.long)
    tokens[:, 0] = inputs.pad
    for row, piece in zip(tokens, pieces, strict=True):
        row[0, : len(piece.ids)] = torch.tensor(piece.ids)
        row[1, : len(piece.ids)] = 1 + torch.tensor(piece.types)
    rows = features(model, tokens)
    rows = rows - rows.mean(dim=0)
    linear.weight.copy_(rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12))
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
