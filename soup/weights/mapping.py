"""Weights as mappings from names to tensors, in memory or lazy, and what it takes to join several.

Nothing here does arithmetic: that is in `soup.weights`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from soup.errors import BadInput, some

Weights = Mapping[str, Tensor]
# (first, last) -> those numbers of a tensor, flat; overwritten by the next call of the same thread.
Reader = Callable[[int, int], Tensor]


class Incompatible(BadInput, ValueError):
    """Weights that cannot be combined; the message names each tensor and what differs."""


class Spec(NamedTuple):
    """What is known of a tensor without reading it.

    Attributes:
        tied: the first name that shares its memory; its own if there is none.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    tied: str


class LazyWeights(Mapping[str, Tensor], ABC):
    """Weights that are read or computed when asked for, and kept by nobody."""

    @property
    @abstractmethod
    def specs(self) -> Mapping[str, Spec]: ...

    def blocks(self, names: Iterable[str]) -> Iterator[Tensor]:
        """The numbers of tensors in their order, in flat parts, each used before the next."""
        for name in names:
            yield self[name].reshape(-1)

    def reader(self, name: str) -> Reader:
        """Reads a tensor's numbers in parts, so that few are held at a time."""
        flat = self[name].reshape(-1)
        return lambda first, last: flat[first:last]

    def __contains__(self, name: object) -> bool:  # Mapping's own would make the tensor
        return name in self.specs

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)


def specs(weights: Weights) -> Mapping[str, Spec]:
    """Dtype, shape and ties of every tensor; nothing is read for it where that can be avoided."""
    if isinstance(weights, LazyWeights):
        return weights.specs
    found: dict[str, Spec] = {}
    seen: dict[tuple[object, ...], str] = {}
    for name in weights:
        tensor = weights[name]
        first = name
        # Addresses tell ties only in a mapping that holds its tensors; another frees and reuses.
        if isinstance(weights, dict) and tensor.numel() > 0:
            memory = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
            first = seen.setdefault(memory, name)
        found[name] = Spec(tensor.dtype, tuple(tensor.shape), first)
    return found


def reader(weights: Weights, name: str) -> Reader:
    """Reads a tensor's numbers in parts, from memory or from where they are."""
    if isinstance(weights, LazyWeights):
        return weights.reader(name)
    flat = weights[name].reshape(-1)
    return lambda first, last: flat[first:last]


def materialize(weights: Weights) -> dict[str, Tensor]:
    """Weights in memory, each tensor read or computed once; ties are kept."""
    if isinstance(weights, dict):
        return weights
    kept: dict[str, Tensor] = {}
    for name, spec in specs(weights).items():
        kept[name] = kept[spec.tied] if spec.tied in kept else weights[name]
    return kept


def differences(first: Weights, other: Weights) -> list[str]:
    """Every reason why two sets of weights cannot be averaged; empty if they can."""
    one, two = specs(first), specs(other)
    missing = [f"{name} is missing from the second" for name in one if name not in two]
    unexpected = [f"{name} is only in the second" for name in two if name not in one]
    shapes = [
        f"{name} is {spec.shape} in the first and {two[name].shape} in the second"
        for name, spec in one.items()
        if name in two and spec.shape != two[name].shape
    ]
    kinds = [
        f"{name} is {spec.dtype} in the first and {two[name].dtype} in the second"
        for name, spec in one.items()
        if name in two and spec.dtype.is_floating_point != two[name].dtype.is_floating_point
    ]
    return missing + unexpected + shapes + kinds


def require_compatible(first: Weights, other: Weights, names: tuple[str, str]) -> None:
    """Raise `Incompatible` with every difference between two named sets of weights."""
    found = differences(first, other)
    if found:
        raise Incompatible(
            f"cannot average {names[0]} with {names[1]}:\n  " + some(found, 20, "\n  ") + "\n"
            "fine-tune both from the same initialisation, head included"
        )


def display_name(weights: Weights, position: int) -> str:
    """How an error calls one of several models: by its file if it has one."""
    return str(weights) if isinstance(weights, LazyWeights) else f"model {position}"


def merged_specs(models: Sequence[Weights], dtype: torch.dtype | None = None) -> dict[str, Spec]:
    """The specs of a function of several models, which must be alike."""
    if not models:
        raise ValueError("nothing to average: no weights were given")
    for position, model in enumerate(models[1:], start=2):
        require_compatible(
            models[0], model, (display_name(models[0], 1), display_name(model, position))
        )
    every = [specs(model) for model in models]
    groups: dict[tuple[str, ...], str] = {}
    found = {}
    for name, (own, shape, _) in every[0].items():
        # Tied in one model and not in another: there are two tensors, so the result has two.
        tied = groups.setdefault(tuple(each[name].tied for each in every), name)
        found[name] = Spec(dtype if dtype and own.is_floating_point else own, shape, tied)
    return found


class _Tensorwise(LazyWeights):
    """A function of several models, tensor by tensor."""

    def __init__(
        self,
        function: Callable[[str, list[Tensor]], Tensor],
        models: Sequence[Weights],
        dtype: torch.dtype | None,
    ) -> None:
        self._function, self._models = function, models
        self._specs = merged_specs(models, dtype)

    @property
    def specs(self) -> Mapping[str, Spec]:
        return self._specs

    def __getitem__(self, name: str) -> Tensor:
        spec = self._specs[name]
        if not spec.dtype.is_floating_point:
            return self._models[0][name].clone()
        return self._function(name, [model[name] for model in self._models]).to(spec.dtype)

    def __str__(self) -> str:
        return f"a soup of {len(self._models)} models"


def tensorwise(
    function: Callable[[str, list[Tensor]], Tensor],
    models: Sequence[Weights],
    dtype: torch.dtype | None = None,
) -> Weights:
    """Each floating-point tensor by a function of its name and of that tensor in each model.

    Args:
        function: its result is cast to the first model's dtype.
        dtype: of the result's floating-point tensors, if another.

    Returns:
        A dictionary if all models are dictionaries, else a mapping that computes when asked.

    Raises:
        ValueError: there are no models.
        Incompatible: names, shapes or kinds of dtype differ.
    """
    return materialize_if_eager(_Tensorwise(function, models, dtype), models)


def materialize_if_eager(result: LazyWeights, models: Sequence[Weights]) -> Weights:
    """Computed now if all models are in memory, else when asked for."""
    return materialize(result) if all(isinstance(model, dict) for model in models) else result
