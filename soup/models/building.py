"""Build a model of any library from its description, and load weights into it.

The input of a model is normalised images (batch, 3, height, width) or the tokens of texts (batch,
2, length); the output is logits (batch, classes). The tensors have the library's names, so that the
library can load the weights.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from soup.errors import missing_extra, some
from soup.models.architecture import DESCRIPTION_FILE, Architecture, ModelError
from soup.models.family_guess import likeness
from soup.models.outline import outline, without_numbers
from soup.weights import Spec, Weights, specs
from soup.weights.checkpoint import Checkpoint
from soup.weights.mapping import reader
from soup.weights.remedies import wrappers_between
from soup.weights.shards import WEIGHTS_FILE
from soup.weights.wrappers import unwrap

PART = 1 << 20  # numbers that are copied at once
MODULES = {
    "timm": "soup.models.timm_models",
    "open_clip": "soup.models.clip_models",
    "transformers": "soup.models.transformers_models",
}


@runtime_checkable
class Library(Protocol):
    """The interface of a library's module (`timm_models`, `clip_models`, `transformers_models`)."""

    def build(self, architecture: Architecture) -> nn.Module:
        """A model with random weights."""

    def features(self, model: nn.Module, images: Tensor, /) -> Tensor:
        """The input of the head, (batch, features), for a batch of the model's input."""

    def head(self, model: nn.Module) -> nn.Linear:
        """The last layer, which maps features to logits."""

    def with_drop_path(self, architecture: Architecture, rate: float) -> Architecture:
        """The same model with stochastic depth at this rate in its last block."""


def library(name: str) -> Library:
    """The module for a library, imported when it is needed, because the import takes seconds.

    Args:
        name: 'timm', 'open_clip' or 'transformers'.

    Raises:
        ModelError: the library is unknown, or transformers, which is optional, is not installed.
    """
    if name not in MODULES:
        raise ModelError(f"unknown library {name!r}; known: {', '.join(MODULES)}")
    try:
        return cast(Library, import_module(MODULES[name]))
    except ModuleNotFoundError as error:
        if name != "transformers" or error.name not in ("transformers", "tokenizers"):
            raise
        raise ModelError(f"a text model needs {missing_extra(error)}") from None


def build(
    architecture: Architecture,
    weights: Weights | None = None,
    name: str | None = None,
    outlined: nn.Module | None = None,
) -> nn.Module:
    """A model in evaluation mode, in the memory format channels last, which is faster.

    The names and shapes of the weights are compared with the model before memory is allocated, and
    the size of the model is limited (`soup.limits`).

    Args:
        architecture: the description of the model.
        weights: copied into the model; None for random weights.
        name: name of the model, for error messages.
        outlined: what `outline_of` gave for this architecture; None makes it here.

    Raises:
        ModelError: the library does not know the model, the weights do not fit, or the model is too
            large.
    """
    make = partial(library(architecture.library).build, architecture)
    if weights is None:
        model = make()
    else:
        name = name or architecture.model
        outlined = outline(make, name) if outlined is None else outlined
        require_fit(outlined, weights, name)
        model = without_numbers(make, outlined)
        load_weights(model, weights, name)
    return model.to(memory_format=torch.channels_last).eval()


def outline_of(architecture: Architecture) -> nn.Module:
    """The model without data, on the device `meta`; it has names and shapes.

    Raises:
        ModelError: the library does not know the model, or it is too large.
    """
    return outline(partial(library(architecture.library).build, architecture), architecture.model)


def require_fit(model: nn.Module, weights: Weights, name: str) -> None:
    """Compare the names and shapes of weights with those of a model, which may be an outline.

    Raises:
        ModelError: names or shapes differ; the message lists all differences.
    """
    if problems := mismatch_message(model.state_dict(), weights, name):
        raise ModelError(problems)


def head_weights(architecture: Architecture, model: nn.Module) -> Weights:
    """The tensors of a model's head, under their names in the model."""
    linear = library(architecture.library).head(model)
    prefix = next(name for name, module in model.named_modules() if module is linear)
    return {f"{prefix}.{name}": tensor for name, tensor in linear.state_dict().items()}


def require_size(architecture: Architecture, model: nn.Module, remedy: str) -> None:
    """Check that a model takes an image of its architecture's size.

    Raises:
        ModelError: the model does not take the image; the message ends with the remedy.
    """
    size = architecture.image_size
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, size, size, device=next(model.parameters()).device))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ModelError(
            f"{architecture.model} does not take images of {size} x {size}: {error}; {remedy}"
        ) from None


def open_model(folder: Path) -> tuple[Architecture, nn.Module]:
    """The model in a folder of `model.json` and `model.safetensors`, in evaluation mode.

    Raises:
        ModelError: the description is missing or damaged, or the weights do not fit it.
    """
    architecture = Architecture.load(folder / DESCRIPTION_FILE)
    return architecture, build(architecture, Checkpoint(folder / WEIGHTS_FILE))


def load_weights(
    model: nn.Module, weights: Weights, name: str, ignore: Callable[[str], bool] = lambda _: False
) -> None:
    """Copy weights into a model in place.

    Args:
        model: whose tensors are overwritten.
        weights: have the names and shapes of the model's tensors.
        name: of the model, for the error message.
        ignore: tensor name -> whether the tensor may be missing, unexpected or of another shape;
            it then keeps the model's value (for a head that will be replaced).

    Raises:
        ModelError: names or shapes differ; all of them are listed.
    """
    targets = model.state_dict()
    problems = mismatch_message(targets, weights, name, ignore)
    if problems:
        raise ModelError(problems)
    given = specs(weights)
    for tensor_name, target in targets.items():
        if tensor_name in given and given[tensor_name].shape == target.shape:
            _copy(target, weights, tensor_name, given[tensor_name])


def _copy(target: Tensor, weights: Weights, name: str, spec: Spec) -> None:
    """Copy a tensor in parts: all mapped pages of its file at once would be a second copy."""
    both_real = spec.dtype.is_floating_point and target.dtype.is_floating_point
    if not isinstance(weights, Checkpoint) or not both_real:
        target.copy_(weights[name])
        return
    layout = torch.contiguous_format
    whole = target if target.is_contiguous() else torch.empty_like(target, memory_format=layout)
    flat, read = whole.view(-1), reader(weights, name)
    for first in range(0, flat.numel(), PART):
        last = min(first + PART, flat.numel())
        flat[first:last] = read(first, last)
    if whole is not target:
        target.copy_(whole)


def mismatch_message(
    expected: Weights, given: Weights, name: str, ignore: Callable[[str], bool] = lambda _: False
) -> str:
    """The message on weights that do not fit a model: the names and shapes that differ.

    Args:
        expected: the weights of the model.
        given: the weights that should be loaded into the model.
        name: of the model.
        ignore: as in `load_weights`.

    Returns:
        The message; '' if the weights fit.
    """
    have = {n: s.shape for n, s in specs(given).items()}
    want = {n: s.shape for n, s in specs(expected).items()}
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
    wrappers = wrappers_between(have, want)
    if wrappers and not unwrap(want)[1]:
        return f"{message}\n  the names differ by {wrappers} alone: convert it with 'soup import'"
    # With half of the tensors wrong, the weights are probably of another model.
    another_model = have and 2 * len(problems) > len(want)
    looks = f"\n  they look like {likeness(have)}; the model is {likeness(want)}"
    return message + (looks if another_model else "")
