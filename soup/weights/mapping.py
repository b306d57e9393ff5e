"""Weights as mappings from names to tensors, in memory or lazy, and checks that several agree.

The arithmetic on them is in `soup.weights.algebra`.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from soup.errors import BadInput, some
from soup.weights.numbers import numbers, plain
from soup.weights.remedies import remedy

Weights = Mapping[str, Tensor]
# Reads the real numbers from `first` to `last` (exclusive) of a flattened tensor (a complex number
# is two). The next call by the same thread may overwrite the returned tensor.
Reader = Callable[[int, int], Tensor]
PART = 1 << 18  # numbers that are read at a time: they stay in a core's cache until they are copied


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

    def read_into(self, out: Tensor, name: str) -> None:
        """Read all numbers of a tensor into a flat one, of any dtype and on any device."""
        read_parts(out, self.reader(name))

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
        if isinstance(weights, dict) and tensor.numel() > 0 and plain(tensor):
            memory = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
            first = first_names.setdefault(memory, name)
        tensors[name] = Spec(tensor.dtype, tuple(tensor.shape), first)
    return tensors


def tensor_bytes(weights: Weights) -> int:
    """The bytes of all tensors; one that is tied counts once."""
    return sum(
        math.prod(spec.shape) * spec.dtype.itemsize
        for name, spec in specs(weights).items()
        if spec.tied == name
    )


def reader(weights: Weights, name: str) -> Reader:
    """Return a function that reads parts of a tensor, from memory or from a file."""
    if isinstance(weights, LazyWeights):
        return weights.reader(name)
    return reader_in_memory(weights[name])


def reader_in_memory(tensor: Tensor) -> Reader:
    """Return a function that returns parts of a tensor that is in memory."""
    flat = numbers(tensor)
    return lambda first, last: flat[first:last]


def read_into(out: Tensor, weights: Weights, name: str) -> None:
    """Read all real numbers of a tensor into a flat one, of any dtype and on any device."""
    if isinstance(weights, LazyWeights):
        weights.read_into(out, name)
    else:
        out.copy_(numbers(weights[name]))


def read_parts(out: Tensor, read: Reader) -> None:
    """Read all numbers of a flat tensor part by part, each through the reader's small buffer."""
    for first in range(0, len(out), PART):
        part = out[first : first + PART]
        part.copy_(read(first, first + len(part)))


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
    missing = [
        f"{name} is missing from the second"
        for name in left
        if name not in right and not twin(name, left, right)
    ]
    unexpected = [
        f"{name} is only in the second"
        for name in right
        if name not in left and not twin(name, right, left)
    ]
    shapes = [
        f"{name} is {spec.shape} in the first and {right[name].shape} in the second"
        for name, spec in left.items()
        # The pickled state of a module has any length; `require_mergeable` compares its bytes.
        if name in right and spec.shape != right[name].shape and not name.endswith("_extra_state")
    ]
    kinds = [
        f"{name} is {spec.dtype} in the first and {right[name].dtype} in the second"
        for name, spec in left.items()
        if name in right and _field(spec.dtype) != _field(right[name].dtype)
    ]
    return missing + unexpected + shapes + kinds


def twin(name: str, tensors: Mapping[str, Spec], others: Mapping[str, Spec]) -> str | None:
    """Return under which name a model holds a tensor that it does not list, if it is a tied one.

    Args:
        name: a tensor of a first model, which a second one lacks.
        tensors: of the first model.
        others: of the second, which may list tied tensors once (`safetensors.torch.save_model`).
    """
    spec = tensors[name]
    tied = (n for n, s in tensors.items() if s.tied == spec.tied and n in others)
    return next((n for n in tied if others[n].shape == spec.shape), None)


def _field(dtype: torch.dtype) -> str:
    return "real" if dtype.is_floating_point else "complex" if dtype.is_complex else "integer"


def shapes(weights: Weights) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor, without reading it."""
    return {name: spec.shape for name, spec in specs(weights).items()}


def require_compatible(first: Weights, second: Weights, names: tuple[str, str]) -> None:
    """Raise `Incompatible`, which lists every difference between two sets of weights.

    Args:
        names: of the first and the second set, for the message.
    """
    reasons = differences(first, second)
    if reasons:
        raise Incompatible(
            f"cannot average {names[0]} with {names[1]}:\n  "
            + some(reasons, 20, "\n  ")
            + f"\n{remedy(shapes(first), shapes(second))}"
        )


def display_name(weights: Weights, position: int) -> str:
    """Return the name of a model for error messages: its file, else its position (from 1)."""
    return str(weights) if isinstance(weights, LazyWeights) else f"model {position}"
