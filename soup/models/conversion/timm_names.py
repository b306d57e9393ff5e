"""Translating the original tensor names of a model to timm's, by timm's own functions."""

import sys
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor

from soup.models.building import mismatch_message
from soup.models.conversion import efficientnet_names
from soup.models.conversion.errors import FormatError


def fit(weights: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Weights under the tensor names of a timm model; their head may have any number of classes.

    Weights that fit the model are returned as they are. Otherwise timm's `checkpoint_filter_fn` for
    the family of the model renames them; it may also merge or resample tensors. Names of the
    EfficientNet-PyTorch package, which timm does not translate, are translated here.

    Args:
        weights: tensor name -> tensor.
        name: of the model in timm.

    Raises:
        FormatError: timm does not know the model, or the weights do not fit it; all missing and
            unexpected names and different shapes are listed.
    """
    import timm

    model = _model(name)
    if not _misfits(weights, model, name):
        return dict(weights)
    if efficientnet_names.is_foreign(weights):
        weights = efficientnet_names.renamed(weights, model.state_dict())
    entry = timm.model_entrypoint(name)
    remap = getattr(sys.modules[entry.__module__], "checkpoint_filter_fn", None)
    if remap is not None:
        try:
            weights = remap(dict(weights), model)
        except Exception as error:  # each family's function trips over foreign names in its own way
            raise FormatError(
                f"timm cannot map these names to {name} ({type(error).__name__}: {error}); they "
                "may be of another model: name the one that was trained"
            ) from None
    problems = _misfits(weights, model, name)
    if problems:
        raise FormatError(
            f"{problems}\nname the model that was trained, or import without one to keep the names "
            "as they are"
        )
    return dict(weights)


def _model(name: str) -> Any:
    """The model with tensors that have names and shapes but no memory."""
    import timm

    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=5)
        hint = f"near: {', '.join(near)}" if near else "timm.list_models() lists them"
        raise FormatError(f"timm does not know the model {name!r}; {hint}")
    with torch.device("meta"):
        return timm.create_model(name)


def _misfits(weights: Mapping[str, Tensor], model: Any, name: str) -> str:
    """Why weights do not fit a model whose head may have any number of classes; '' if they do."""
    heads = model.pretrained_cfg.get("classifier") or ()
    for head in [heads] if isinstance(heads, str) else heads:
        weight = weights.get(f"{head}.weight")
        if weight is not None and weight.ndim and weight.shape[0] != model.num_classes:
            model.reset_classifier(weight.shape[0])
            break
    return mismatch_message(model.state_dict(), weights, f"timm:{name}")
