"""A head that is kept (`base.head: keep`): its classes and input, as its file tells them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from soup.config.params import Base
from soup.errors import some
from soup.models.architecture import IMAGE_FIELDS, Architecture, ModelError
from soup.models.conversion import description_of, source_files


def told_by(weights: str) -> Mapping[str, Any]:
    """The fields of `Architecture` that a file of weights, or a file beside it, tells.

    Raises:
        FormatError: there is no such file, or it cannot be read.
        ModelError: a description is damaged.
    """
    file = source_files.locate(Path(weights))
    # A safetensors file tells it in its header, and is not read whole for it.
    content = None if file.suffix == ".safetensors" else source_files.contents(file)
    return description_of(file, content)


def as_told(
    architecture: Architecture, linear: nn.Linear, told: Mapping[str, Any], base: Base
) -> Architecture:
    """The architecture with the input that the weights were trained with.

    Args:
        architecture: as the library and the parameters say.
        linear: the head of the weights; its rows are put in the order of our classes.
        told: the result of `told_by`.
        base: the parameters of the initialisation, which go before what is told.

    Raises:
        ModelError: the head has other classes.
    """
    if "classes" in told:
        require_same(base.weights, told["classes"], architecture.classes)
        reorder(linear, told["classes"], architecture.classes)
    given = {name for name in ("image_size", "mean", "std") if getattr(base, name)}
    given |= {"image_size"} if {"img_size", "force_image_size"} & base.kwargs.keys() else set()
    return replace(
        architecture, **{n: told[n] for n in IMAGE_FIELDS if n in told and n not in given}
    )


def require_same(source: str, names: Sequence[str], classes: Sequence[str]) -> None:
    """Check that a head has our classes, in any order.

    Raises:
        ModelError: it has others; the message names the source of the head.
    """
    if sorted(names) != sorted(classes):
        raise ModelError(
            f"base.head: keep: {source} knows the classes {some(names, 10)}, the data has "
            f"{some(classes, 10)}; take head: new"
        )


def reorder(linear: nn.Linear, names: Sequence[str], classes: Sequence[str]) -> None:
    """Put the rows of a head, in place, from the order of its names in that of our classes."""
    order = [names.index(name) for name in classes]
    for tensor in linear.state_dict().values():
        tensor.copy_(tensor[order].clone())
