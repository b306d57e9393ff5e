"""Image classifiers from timm."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
from torch import Tensor, nn

from soup.checkpoint import Checkpoint
from soup.models import Architecture, ModelError, load_weights
from soup.params import Base


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
        raise ModelError(f"{type(model).__name__} has no linear head to fine-tune, but {found}")
    return found


def make_base(base: Base, classes: tuple[str, ...]) -> tuple[Architecture, nn.Module]:
    """The initialisation: pretrained weights, with a head of zeros for the given classes.

    Raises:
        ModelError: an unknown model, weights that cannot be fetched or read, or do not fit.
    """
    if base.weights == "pretrained":
        model = create(base.model, base.kwargs, len(classes), pretrained=True)
    else:
        if not Path(base.weights).is_file():
            raise ModelError(
                f"base.weights: {base.weights} is not a file; "
                "give 'pretrained' or a safetensors file"
            )
        model = create(base.model, base.kwargs, len(classes))
        prefix = _head_name(model)
        replaced = base.head == "new"
        load_weights(
            model,
            Checkpoint(base.weights),
            base.model,
            ignore=lambda name: replaced and name.startswith(f"{prefix}."),
        )
    if base.head == "new":
        linear = head(model)
        nn.init.zeros_(linear.weight)
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)
    return describe(base, classes, model), model.eval()


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
    )


def create(
    name: str, kwargs: Mapping[str, Any], classes: int, pretrained: bool = False
) -> nn.Module:
    """A model by name.

    Raises:
        ModelError: timm does not know the name or does not take the arguments, or the weights
            cannot be fetched.
    """
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=5)
        hint = f"near: {', '.join(near)}" if near else "timm.list_models() lists them"
        raise ModelError(f"base.model: timm does not know {name!r}; {hint}")
    try:
        model: nn.Module = timm.create_model(
            name, pretrained=pretrained, num_classes=classes, **kwargs
        )
    except Exception as error:  # timm and the hub raise many kinds; all mean the same here
        what = "fetch the pretrained weights of" if pretrained else "make"
        raise ModelError(
            f"timm cannot {what} {name} with {dict(kwargs)}: {type(error).__name__}: {error}"
        ) from error
    return model


def replace_head(model: nn.Module, linear: nn.Linear) -> None:
    """Put another head in the place of the model's."""
    model.set_submodule(_head_name(model), linear)


def _head_name(model: nn.Module) -> str:
    linear = head(model)
    return next(name for name, module in model.named_modules() if module is linear)
