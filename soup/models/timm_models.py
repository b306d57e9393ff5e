"""Image classifiers from timm."""

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

import timm
from torch import Tensor, nn

from soup.config.params import Base
from soup.models.architecture import Architecture, ModelError


def build(architecture: Architecture) -> nn.Module:
    """A timm classifier with random weights.

    Raises:
        ModelError: timm does not know the name or does not take the arguments.
    """
    return create(architecture.model, architecture.kwargs, len(architecture.classes))


def features(model: nn.Module, images: Tensor) -> Tensor:
    timm_model: Any = model
    pooled: Tensor = timm_model.forward_head(timm_model.forward_features(images), pre_logits=True)
    return pooled


def head(model: nn.Module) -> nn.Linear:
    timm_model: Any = model
    found = timm_model.get_classifier()
    if not isinstance(found, nn.Linear):
        raise ModelError(
            f"{type(model).__name__} has no linear head to fine-tune, but {found}; choose a model "
            "that ends in one linear layer"
        )
    return found


def with_drop_path(architecture: Architecture, rate: float) -> Architecture:
    """The same model with stochastic depth at this rate in its last block."""
    return replace(architecture, kwargs={**architecture.kwargs, "drop_path_rate": rate})


def describe(base: Base, classes: tuple[str, ...], model: nn.Module) -> Architecture:
    """How to build and feed a model: its own configuration, overridden by the parameters."""
    own = timm.data.resolve_model_data_config(model)
    return Architecture(
        library="timm",
        model=base.model,
        kwargs=base.kwargs,
        classes=classes,
        image_size=base.image_size or own["input_size"][1],
        mean=base.mean or tuple(own["mean"]),
        std=base.std or tuple(own["std"]),
        interpolation=own["interpolation"],
        crop_pct=1.0 if base.image_size else own["crop_pct"],
        crop_mode=own.get("crop_mode") or "center",
    )


def create(name: str, kwargs: Mapping[str, Any], classes: int) -> nn.Module:
    """A model by name.

    Raises:
        ModelError: timm does not know the name or does not take the arguments.
    """
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=5)
        hint = f"near: {', '.join(near)}" if near else "timm.list_models() lists them"
        raise ModelError(f"base.model: timm does not know {name!r}; {hint}")
    try:
        model: nn.Module = timm.create_model(name, num_classes=classes, **kwargs)
    except Exception as error:  # timm's models raise many kinds; all mean the same here
        raise ModelError(
            f"timm cannot make {name} with {dict(kwargs)}: {type(error).__name__}: {error}"
        ) from error
    return model


def replace_head(model: nn.Module, linear: nn.Linear) -> None:
    """Put another head in the place of the model's."""
    model.set_submodule(head_name(model), linear)


def head_name(model: nn.Module) -> str:
    linear = head(model)
    return next(name for name, module in model.named_modules() if module is linear)
