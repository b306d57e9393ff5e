"""Image classifiers from timm."""

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

import timm
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from soup.config.params import Base
from soup.models.architecture import Architecture, ModelError
from soup.models.arguments import shaping, unfit
from soup.models.onednn import multiply_by_onednn


def build(architecture: Architecture) -> nn.Module:
    """A timm classifier with random weights.

    Raises:
        ModelError: timm does not know the name or does not take the arguments.
    """
    return create(architecture.model, architecture.kwargs, len(architecture.classes))


def features(model: nn.Module, images: Tensor) -> Tensor:
    """The input of the head, (batch, features)."""
    timm_model: Any = model
    pooled: Tensor = timm_model.forward_head(timm_model.forward_features(images), pre_logits=True)
    return pooled


def head(model: nn.Module) -> nn.Linear:
    """The last layer.

    Raises:
        ModelError: the last layer is not a linear layer.
    """
    timm_model: Any = model
    classifier = timm_model.get_classifier()
    if not isinstance(classifier, nn.Linear):
        raise ModelError(
            f"{type(model).__name__} has no linear head to fine-tune, but {classifier}; choose "
            "a model that ends in one linear layer"
        )
    return classifier


def with_drop_path(architecture: Architecture, rate: float) -> Architecture:
    """The same model with stochastic depth at this rate in its last block."""
    return replace(architecture, kwargs={**architecture.kwargs, "drop_path_rate": rate})


def describe(base: Base, classes: tuple[str, ...], model: nn.Module) -> Architecture:
    """The architecture of a model: the configuration of timm, overridden by the parameters.

    Raises:
        ModelError: the model takes images that are not square.
    """
    config = timm.data.resolve_model_data_config(model)
    _, height, width = config["input_size"]
    if height != width and not base.image_size:
        raise ModelError(
            f"base.model: {base.model} takes images of {width} x {height}; only square ones are "
            "supported: name another model"
        )
    return Architecture(
        library="timm",
        model=base.model,
        kwargs=shaping(base.kwargs),
        classes=classes,
        image_size=base.image_size or config["input_size"][1],
        mean=base.mean or tuple(config["mean"]),
        std=base.std or tuple(config["std"]),
        interpolation=config["interpolation"],
        crop_pct=1.0 if base.image_size else config["crop_pct"],
        crop_mode=config.get("crop_mode") or "center",
    )


def has_fixed_size(name: str) -> bool:
    """Whether a model takes images of the size alone that it was created for (`img_size`)."""
    return timm.is_model(name) and bool(timm.get_pretrained_cfg(name).fixed_input_size)


def require_known(name: str) -> None:
    """Check that timm has a model of this name.

    Raises:
        ModelError: it has none.
    """
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=5)
        hint = f"near: {', '.join(near)}" if near else "timm.list_models() lists them"
        raise ModelError(f"base.model: timm does not know {name!r}; {hint}")


def create(name: str, kwargs: Mapping[str, Any], classes: int) -> nn.Module:
    """A model by its name in timm, with a head for this number of classes; nothing is fetched.

    The linear layers of a vision transformer, which are nearly all of its work, multiply by oneDNN
    where that is faster. Other models keep torch's products, and so the bits of earlier results.

    Raises:
        ModelError: timm does not know the name or does not take the arguments, or an argument does
            not shape the network (`soup.models.arguments`).
    """
    require_known(name)
    if reason := unfit("timm", kwargs):
        raise ModelError(f"base.model: {name} is not made: {reason}")
    try:
        wanted = {**kwargs, "num_classes": classes}
        model: nn.Module = timm.create_model(name, pretrained=False, **wanted)
    except Exception as error:  # timm's models raise many kinds; all mean the same here
        raise ModelError(
            f"timm cannot make {name} with {dict(kwargs)}: {type(error).__name__}: {error}"
        ) from error
    if isinstance(model, VisionTransformer):
        multiply_by_onednn(model)
    return model


def head_name(model: nn.Module) -> str:
    """The head's name in the model."""
    linear = head(model)
    return next(name for name, module in model.named_modules() if module is linear)
