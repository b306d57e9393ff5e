"""The initialisation from timm: pretrained weights of timm, or a file of weights."""

from pathlib import Path
from typing import Any

import timm
from torch import nn

from soup.config.params import Base
from soup.models.architecture import Architecture, ModelError
from soup.models.arguments import shaping
from soup.models.building import load_weights
from soup.models.conversion.read_weights import weights_of
from soup.models.download_errors import cannot_fetch
from soup.models.kept_head import as_told, told_by
from soup.models.timm_models import create, describe, head, head_name, require_known


def make_base(base: Base, classes: tuple[str, ...]) -> tuple[Architecture, nn.Module]:
    """The initialisation of all fine-tunes, with a head of zeros unless the head is kept.

    A head that is kept from a file has the classes, and its images the form, that the file tells.

    Args:
        base: the parameters of the initialisation.
        classes: class names; the position of a name is its label.

    Returns:
        The architecture, and the model in evaluation mode.

    Raises:
        ModelError: the model or tag is unknown, the model has no linear head, the weights cannot
            be fetched or do not fit, or a head that is kept has other classes.
    """
    require(base)
    if base.weights == "pretrained":
        model = _fetched(base, len(classes))
        linear = head(model)
    else:
        model = create(base.model, shaping(base.kwargs), len(classes))
        linear = head(model)
        prefix, replaced = head_name(model), base.head == "new"
        load_weights(
            model,
            weights_of(base.weights),
            base.model,
            ignore=lambda name: replaced and name.startswith(f"{prefix}."),
        )
    if base.head == "new":
        nn.init.zeros_(linear.weight)
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)
    architecture = describe(base, classes, model)
    if base.head == "keep" and base.weights != "pretrained":
        architecture = as_told(architecture, linear, told_by(base.weights), base)
    return architecture, model.eval()


def require(base: Base) -> None:
    """Check that timm knows the model and has the weights, or that they are a file; fetch nothing.

    Raises:
        ModelError: the model or tag is unknown, or the file of weights cannot be read.
    """
    require_known(base.model)
    tags, tag = _tags(base.model), base.model.partition(".")[2]
    if base.weights == "embedded":
        return
    if base.weights == "pretrained":
        if not tags:
            raise ModelError(
                f"base.weights: timm has no pretrained weights of {base.model}; name a file of "
                "them: base.weights: FILE"
            )
        if tag and tag not in tags:
            raise ModelError(
                f"base.model: timm has no weights {tag!r} of {_plain(base.model)}; its tags: "
                f"{', '.join(tags)}"
            )
    elif Path(base.weights).is_file():
        weights_of(base.weights)
    else:
        raise ModelError(
            f"base.weights: {base.weights} is not a file; give 'pretrained' or a file of weights. "
            f"A pretrained tag goes into the name, base.model: {_plain(base.model)}.TAG; its tags: "
            f"{', '.join(tags) or 'none'}"
        )


def _fetched(base: Base, classes: int) -> nn.Module:
    """The pretrained model, from the hub or its cache on this machine."""
    create(
        base.model, shaping(base.kwargs), classes
    )  # its errors must not be taken for those of the hub
    pretrained: Any = timm.get_pretrained_cfg(base.model)
    if base.head == "keep" and pretrained.num_classes != classes:
        raise ModelError(
            f"base.head: keep: the weights of {base.model} know {pretrained.num_classes} classes, "
            f"but there are {classes} class folders; take head: new"
        )
    try:
        model: nn.Module = timm.create_model(
            base.model, pretrained=True, num_classes=classes, **base.kwargs
        )
    except Exception as error:  # the hub raises many kinds; all mean the same here
        hub = pretrained.hf_hub_id
        where = {"hf_hub": f"{hub}/"} if hub else {"url": pretrained.url}
        tag = base.model.partition(".")[2] or _tags(base.model)[0]
        raise cannot_fetch(base.model, tag, where, error) from None
    return model


def _plain(name: str) -> str:
    return name.partition(".")[0]


def _tags(name: str) -> list[str]:
    """The tags of the pretrained weights that timm has for a model."""
    return [model.partition(".")[2] for model in timm.list_pretrained(f"{_plain(name)}.*")]
