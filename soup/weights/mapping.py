"""Weights as mappings from names to tensors, in memory or lazy, and checks that several agree.

The arithmetic on them is in `soup.weights.algebra`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from soup.errors import BadInput, some

Weights = Mapping[str, Tensor]
# Reads the numbers from `first` to `last` (exclusive) of a flattened tensor. The next call by the
# same thread may overwrite the returned tensor.
Reader = Callable[[int, int], Tensor]


class Incompatible(BadInput, ValueError):
    """Weights of different architectures were to be combined; the message names each tensor."""


class Spec(NamedTuple):
    """A tensor's dtype and shape, known without reading its numbers.

    Attributes:
        tied: the first name under which the same memory is listed; the tensor's name if it is
            listed once.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    tied: str


class LazyWeights(Mapping[str, Tensor]):
    """Weights whose tensors are read or computed on access and not kept.

    Attributes:
        specs: dtype, shape and ties of each tensor.
    """

    specs: Mapping[str, Spec]

    def blocks(self, names: Iterable[str]) -> Iterator[Tensor]:
        """Yield the numbers of the named tensors, in order, as flat tensors of any length.

        A block may be overwritten when the next is asked for.
        """
        for name in names:
            yield self[name].reshape(-1)

    def reader(self, name: str) -> Reader:
        """Return a function that reads parts of a tensor, so that few numbers are in memory."""
        return reader_in_memory(self[name])

    def __contains__(self, name: object) -> bool:  # Mapping.__contains__ would read the tensor
        return name in self.specs

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)


def specs(weights: Weights) -> Mapping[str, Spec]:
    """Return dtype, shape and ties of every tensor; lazy weights are asked for them, not read."""
    if isinstance(weights, LazyWeights):
        return weights.specs
    tensors: dict[str, Spec] = {}
    first_names: dict[tuple[object, ...], str] = {}
    for name in weights:
        tensor = weights[name]
        first = name
        # Addresses show ties only in a dictionary, which holds all its tensors at once: any other
        # mapping may free a tensor and reuse its address for the next.
        if isinstance(weights, dict) and tensor.numel() > 0:
            memory = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
            first = first_names.setdefault(memory, name)
        tensors[name] = Spec(tensor.dtype, tuple(tensor.shape), first)
    return tensors


def reader(weights: Weights, name: str) -> Reader:
    """Return a function that reads parts of a tensor, from memory or from a file."""
    if isinstance(weights, LazyWeights):
        return weights.reader(name)
    return reader_in_memory(weights[name])


def reader_in_memory(tensor: Tensor) -> Reader:
    """Return a function that returns parts of a tensor that is in memory."""
    flat = tensor.reshape(-1)
    return lambda first, last: flat[first:last]


def materialize(weights: Weights) -> dict[str, Tensor]:
    """Return the weights as a dictionary; each tensor is read or computed once, ties are kept."""
    if isinstance(weights, dict):
        return weights
    tensors: dict[str, Tensor] = {}
    for name, spec in specs(weights).items():
        tensors[name] = tensors[spec.tied] if spec.tied in tensors else weights[name]
    return tensors


def differences(first: Weights, second: Weights) -> list[str]:
    """Return every reason why two sets of weights cannot be averaged; empty if they can."""
    left, right = specs(first), specs(second)
    missing = [f"{name} is missing from the second" for name in left if name not in right]
    unexpected = [f"{name} is only in the second" for name in right if name not in left]
    shapes = [
        f"{name} is {spec.shape} in the first and {right[name].shape} in the second"
        for name, spec in left.items()
        if name in right and spec.shape != right[name].shape
    ]
    kinds = [
        f"{name} is {spec.dtype} in the first and {right[name].dtype} in the second"
        for name, spec in left.items()
        if name in right and spec.dtype.is_floating_point != right[name].dtype.is_floating_point
    ]
    return missing + unexpected + shapes + kinds


def require_compatible(first: Weights, second: Weights, names: tuple[str, str]) -> None:
    """Raise `Incompatible`, which lists every difference between two sets of weights.

    Args:
        names: of the first and the second set, for the message.
    """
    reasons = differences(first, second)
    if reasons:
        raise Incompatible(
            f"cannot average {names[0]} with {names[1]}:\n  " + some(reasons, 20, "\n  ") + "\n"
            "fine-tune both from the same initialisation, head included"
        )


def display_name(weights: Weights, position: int) -> str:
    """Return the name of a model for error messages: its file, else its position (from 1)."""
    return str(weights) if isinstance(weights, LazyWeights) else f"model {position}"


def merged_specs(models: Sequence[Weights], dtype: torch.dtype | None = None) -> dict[str, Spec]:
    """Return the specs of a tensor-by-tensor function of several models.

    Args:
        dtype: of the result's floating-point tensors; the first model's by default.

    Raises:
        ValueError: there are no models.
        Incompatible: names, shapes or kinds of dtype differ.
    """
    if not models:
        raise ValueError("nothing to average: no weights were given")
    for position, model in enumerate(models[1:], start=2):
        require_compatible(
            models[0], model, (display_name(models[0], 1), display_name(model, position))
        )
    specs_of_models = [specs(model) for model in models]
    groups: dict[tuple[str, ...], str] = {}
    merged = {}
    for name, (stored, shape, _) in specs_of_models[0].items():
        # Names that are tied in one model and not in another hold two tensors in the result.
        tied = groups.setdefault(tuple(tensors[name].tied for tensors in specs_of_models), name)
        merged[name] = Spec(dtype if dtype and stored.is_floating_point else stored, shape, tied)
    return merged


class Merged(LazyWeights):
    """Several models in one: `function` computes each floating-point tensor on access, by name."""

    def __init__(
        self,
        models: Sequence[Weights],
        function: Callable[[str], Tensor],
        dtype: torch.dtype | None = None,
    ) -> None:
        self._models, self._function = models, function
        self.specs = merged_specs(models, dtype)

    def __getitem__(self, name: str) -> Tensor:
        dtype = self.specs[name].dtype
        if not dtype.is_floating_point:
            return self._models[0][name].clone()
        return self._function(name).to(dtype)

    def __str__(self) -> str:
        return f"a soup of {len(self._models)} models"


def tensorwise(
    function: Callable[[str, list[Tensor]], Tensor], models: Sequence[Weights]
) -> Weights:
    """Apply a function to each floating-point tensor of several models.

    Integer and boolean tensors are copied from the first model.

    Args:
        function: takes the name of a tensor and that tensor of each model, and returns a tensor of
            the same shape, which is cast to the first model's dtype.
        models: of the same tensor names and shapes.

    Returns:
        A dictionary if all models are dictionaries, else a mapping that computes each tensor when
        it is read.

    Raises:
        ValueError: there are no models.
        Incompatible: names, shapes or kinds of dtype differ.
    """
    merged = Merged(models, lambda name: function(name, [model[name] for model in models]))
    return materialize_if_eager(merged, models)


def materialize_if_eager(result: LazyWeights, models: Sequence[Weights]) -> Weights:
    """Return the result as a dictionary if all models are dictionaries, else as it is."""
    return materialize(result) if all(isinstance(model, dict) for model in models) else result
