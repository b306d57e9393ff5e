"""Classifiers, from whichever library: one description, one interface.

A model is an `nn.Module` from normalised images (batch, 3, height, width) to logits
(batch, classes), with its library's own tensor names, so that its weights load there too.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from soup.errors import BadInput, some
from soup.files import write_json
from soup.models.family_guess import likeness
from soup.weights import Weights, specs
from soup.weights.checkpoint import Checkpoint


class ModelError(BadInput, ValueError):
    """A model that cannot be made, or weights that do not fit it; says which and why."""


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build a model and feed it; stands as `model.json` beside its weights.

    Attributes:
        library: 'timm' or 'open_clip'.
        model: its name there, or a path to an open_clip config.
        kwargs: passed to the library's create_model.
        classes: class names; position is label.
        image_size: height and width of the input, pixels.
        mean, std: per channel, of pixels scaled to 0..1.
        interpolation: how images are resized ('bicubic', 'bilinear').
        crop_pct: the shorter side is resized to image_size / crop_pct before the centre crop.
        crop_mode: 'center'; 'squash' resizes both sides, 'border' the longer one and pads.
        config: what an open_clip image tower is built from, so that it is built alike wherever
            that file of the user's is not, and whatever open_clip's own become.
    """

    library: str
    model: str
    classes: tuple[str, ...]
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    crop_pct: float = 1.0
    crop_mode: str = "center"
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        write_json(path, asdict(self))

    def text(self) -> str:
        """JSON in one line, for the metadata of a weights file."""
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def load(path: Path) -> "Architecture":
        try:
            return Architecture.parse(path.read_text(), str(path))
        except OSError as error:
            raise ModelError(f"{path} does not describe a model: {error}") from None

    @staticmethod
    def parse(text: str, source: str) -> "Architecture":
        """
        Raises:
            ModelError: it is not the JSON of an architecture; `source` is named.
        """
        try:
            raw = json.loads(text)
            for name in ("classes", "mean", "std"):
                raw[name] = tuple(raw[name])
            return Architecture(**raw)
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{source} does not describe a model: {error}") from None


@runtime_checkable
class Library(Protocol):
    """What the module of a library offers."""

    def build(self, architecture: Architecture) -> nn.Module: ...

    def features(self, model: nn.Module, images: Tensor) -> Tensor:
        """What the head sees, (batch, features)."""
        ...

    def head(self, model: nn.Module) -> nn.Linear: ...

    def with_drop_path(self, architecture: Architecture, rate: float) -> Architecture: ...


def library(name: str) -> Library:
    """The module for a library; imported when asked for, for these imports take seconds."""
    from importlib import import_module

    modules = {"timm": "soup.models.timm_models", "open_clip": "soup.models.clip_models"}
    if name not in modules:
        raise ModelError(f"unknown library {name!r}; known: {', '.join(modules)}")
    module: Any = import_module(modules[name])
    found: Library = module
    return found


def build(architecture: Architecture, weights: Weights | None = None) -> nn.Module:
    """A model in evaluation mode, with the given weights if there are any.

    Raises:
        ModelError: the library does not know the model, or the weights do not fit.
    """
    model = library(architecture.library).build(architecture)
    if weights is not None:
        load_weights(model, weights, architecture.model)
    faster: Any = model.to  # whose overloads do not know this form
    built: nn.Module = faster(memory_format=torch.channels_last)
    return built.eval()


def head_weights(architecture: Architecture, model: nn.Module) -> Weights:
    """The tensors of a model's head, by their names in the model."""
    linear = library(architecture.library).head(model)
    prefix = next(name for name, module in model.named_modules() if module is linear)
    return {f"{prefix}.{name}": tensor for name, tensor in linear.state_dict().items()}


def open_model(folder: Path) -> tuple[Architecture, nn.Module]:
    """The model in a folder of `model.json` and `model.safetensors`."""
    architecture = Architecture.load(folder / "model.json")
    return architecture, build(architecture, Checkpoint(folder / "model.safetensors"))


def load_weights(
    model: nn.Module, weights: Weights, name: str, ignore: Callable[[str], bool] = lambda _: False
) -> None:
    """Copy weights into a model, all of them, in place.

    Args:
        ignore: names for which absence and another shape are allowed (a head to be replaced).

    Raises:
        ModelError: names or shapes differ; all of them are listed.
    """
    own = model.state_dict()
    problems = mismatch_message(own, weights, name, ignore)
    if problems:
        raise ModelError(problems)
    for n, tensor in own.items():
        given = weights.get(n)
        if given is not None and given.shape == tensor.shape:
            tensor.copy_(given)


def mismatch_message(
    own: Weights, weights: Weights, name: str, ignore: Callable[[str], bool] = lambda _: False
) -> str:
    """Why weights are not those of a model: every name and shape, and what they look like.

    Returns:
        A message, or '' if they fit.
    """
    have = {n: s.shape for n, s in specs(weights).items()}
    want = {n: s.shape for n, s in specs(own).items()}
    names = [f"missing: {n}" for n in want if n not in have and not ignore(n)]
    names += [f"unexpected: {n}" for n in have if n not in want and not ignore(n)]
    shapes = [
        f"{n} is {tuple(have[n])}, the model wants {tuple(want[n])}"
        for n in want
        if n in have and have[n] != want[n] and not ignore(n)
    ]
    problems = names + shapes
    if not problems:
        return ""
    message = f"the weights do not fit {name}:\n  " + some(problems, 12, "\n  ")
    # A name or two too many is a slip; half of them wrong is another model.
    foreign = have and 2 * len(problems) > len(want)
    looks = f"\n  they look like {likeness(have)}; the model is {likeness(want)}"
    return message + (looks if foreign else "")
