"""Image towers from open_clip, with a linear head: zero-shot from prompts, or new.

As in the paper's published code, features are L2-normalised before the head, and the zero-shot head
is the text classifier times the logit scale, with a zero bias.
"""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional

from soup.models import Architecture, ModelError
from soup.params import Base


class ClipClassifier(nn.Module):
    """The image tower of a CLIP model and a linear head on its normalised features."""

    def __init__(self, visual: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.visual = visual
        self.head = nn.Linear(features, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def features(self, images: Tensor) -> Tensor:
        """(batch, 3, height, width) -> unit vectors (batch, features)."""
        return functional.normalize(self.visual(images), dim=-1)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


def build(architecture: Architecture) -> nn.Module:
    """An image tower with random weights and a head of zeros.

    Raises:
        ModelError: open_clip does not know the name.
    """
    model = _create(architecture.model, architecture.kwargs, None)
    return _classifier(model, architecture.model, len(architecture.classes))


def features(model: nn.Module, images: Tensor) -> Tensor:
    assert isinstance(model, ClipClassifier)
    return model.features(images)


def head(model: nn.Module) -> nn.Linear:
    assert isinstance(model, ClipClassifier)
    return model.head


def make_base(base: Base, classes: tuple[str, ...]) -> tuple[Architecture, nn.Module]:
    """The initialisation: a pretrained image tower, its text tower dropped once the head is made.

    Raises:
        ModelError: an unknown model or tag, weights that do not fit, or class names that do not
            match the class folders.
    """
    names = base.class_names or list(classes)
    if len(names) != len(classes):
        raise ModelError(
            f"base.class_names has {len(names)} names, but there are {len(classes)} class folders"
        )
    model = _create(base.model, base.kwargs, base.weights)
    classifier = _classifier(model, base.model, len(classes))
    if base.head == "zeroshot":
        classifier.head.weight.data.copy_(_zero_shot(model, base, names))
    return describe(base, classes, model), classifier.eval()


def describe(base: Base, classes: tuple[str, ...], model: nn.Module | None = None) -> Architecture:
    """How to build and feed a model: its own configuration, overridden by the parameters."""
    model = model if model is not None else _create(base.model, base.kwargs, None)
    config = open_clip.get_model_preprocess_cfg(model)
    size = config["size"][0] if isinstance(config["size"], (tuple, list)) else config["size"]
    return Architecture(
        library="open_clip",
        model=base.model,
        kwargs=base.kwargs,
        classes=classes,
        image_size=base.image_size or size,
        mean=base.mean or tuple(config["mean"]),
        std=base.std or tuple(config["std"]),
        interpolation=config["interpolation"],
    )


def _zero_shot(model: Any, base: Base, names: list[str]) -> Tensor:
    """The text classifier times the logit scale, (classes, features)."""
    templates: Any = [
        (lambda name, text=text: text.replace("{}", name)) for text in base.templates
    ] or open_clip.OPENAI_IMAGENET_TEMPLATES
    tokenizer = open_clip.get_tokenizer(_known_as(base.model), context_length=model.context_length)
    with torch.no_grad():
        columns = open_clip.build_zero_shot_classifier(
            model, tokenizer=tokenizer, classnames=names, templates=templates, device="cpu"
        )
        weight: Tensor = columns.T * model.logit_scale.exp()
    return weight


def _classifier(model: Any, name: str, classes: int) -> ClipClassifier:
    width = open_clip.get_model_config(_known_as(name))["embed_dim"]
    return ClipClassifier(model.visual, width, classes)


def _known_as(name: str) -> str:
    """Make a config file known to open_clip, and return the name it is known by."""
    path = Path(name)
    if path.suffix == ".json":
        if not path.is_file():
            raise ModelError(f"base.model: {name} is not a file")
        open_clip.add_model_config(path)
        return path.stem
    if name not in open_clip.list_models():
        near = get_close_matches(name, open_clip.list_models(), n=5)
        raise ModelError(
            f"base.model: open_clip does not know {name!r}; near: {', '.join(near) or 'none'}"
        )
    return name


def _create(name: str, kwargs: Any, weights: str | None) -> Any:
    known = _known_as(name)
    try:
        return open_clip.create_model(known, pretrained=weights, **kwargs)
    except Exception as error:  # open_clip and the hub raise many kinds; all mean the same here
        raise ModelError(
            f"open_clip cannot make {name} with weights {weights!r}: "
            f"{type(error).__name__}: {error}"
        ) from error
