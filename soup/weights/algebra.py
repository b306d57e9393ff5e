"""Linear combinations and inner products of state dicts.

`Weights` is any mapping from tensor names to tensors: a dictionary in memory, or `LazyWeights` such
as a `Checkpoint` over files. Every linear combination keeps these rules:

- each kind of tensor is treated as `soup.weights.kinds` says: real and complex numbers are summed
  in float64 (or the given dtype) and rounded once; counters, and what is the same in all models,
  are copied from the first; what has no mean is refused by name;
- an infinity at the same place in all models (an attention mask) stays there;
- tensors that share memory in all the models (tied embeddings) share it in the result;
- if a model is in files, the result is lazy: each tensor is computed when it is read, so that
  averaging any number of files of any size needs the memory of a few tensors.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor

from soup.weights.kinds import averaged
from soup.weights.mapping import LazyWeights, Reader, Weights, materialize, reader, specs
from soup.weights.merged import Computed, materialize_if_eager, prepare
from soup.weights.numbers import count, shared_infinities
from soup.weights.streaming_sum import CHUNK, LinearCombination


def combine(
    terms: Sequence[tuple[float, Weights]],
    accumulate: torch.dtype = torch.float64,
    dtype: torch.dtype | None = None,
) -> Weights:
    """Return the linear combination sum_i c_i * theta_i.

    Args:
        terms: pairs (c_i, theta_i); all theta_i have the same tensor names and shapes.
        accumulate: the dtype of the sum.
        dtype: of the result's floating-point tensors; that of the first theta by default.

    Returns:
        A dictionary if all models are dictionaries, else a mapping that computes each tensor when
        it is read.

    Raises:
        ValueError: there are no terms.
        Incompatible: names or shapes differ.
        NotFinite: a tensor holds NaN or infinite numbers (raised when it is computed).
    """
    factors, models = [factor for factor, _ in terms], [model for _, model in terms]
    return materialize_if_eager(LinearCombination(factors, 1, models, accumulate, dtype), models)


def average(
    checkpoints: Sequence[Weights],
    weights: Sequence[float] | None = None,
    accumulate: torch.dtype = torch.float64,
    dtype: torch.dtype | None = None,
) -> Weights:
    """Return the weighted mean of models, theta = sum_i w_i theta_i / sum_i w_i.

    With equal weights this is the uniform soup of Wortsman et al., "Model soups", ICML 2022,
    section 2.

    Args:
        checkpoints: the models: dictionaries, or `Checkpoint`s over files.
        weights: w_i, one number for each model; all equal by default.
        accumulate: the dtype of the sum.
        dtype: of the result's floating-point tensors; the first model's by default.

    Returns:
        A dictionary if all models are dictionaries, else a mapping that computes each tensor when
        it is read.

    Raises:
        ValueError: there are no models, the number of weights is not that of the models, or the
            weights sum to zero or to no finite number.
        Incompatible: names or shapes differ.
        NotFinite: a tensor holds NaN or infinite numbers (raised when it is computed).
    """
    factors = [1.0] * len(checkpoints) if weights is None else list(weights)
    if len(factors) != len(checkpoints):
        raise ValueError(f"{len(checkpoints)} models but {len(factors)} weights")
    total = math.fsum(factors)
    if not math.isfinite(total) or (checkpoints and total == 0):
        raise ValueError(f"the weights must have a finite sum other than 0, got {total}")
    return materialize_if_eager(
        LinearCombination(factors, total, checkpoints, accumulate, dtype), checkpoints
    )


def cast(weights: Weights, dtype: torch.dtype) -> Weights:
    """Return weights whose floating-point tensors have another dtype.

    Lazy weights that were merged are merged anew, so that each number is rounded once.

    Raises:
        NotFinite: a number is too large for the dtype (raised when it is computed).
    """
    return (
        weights.astype(dtype) if isinstance(weights, Computed) else average([weights], dtype=dtype)
    )


class _Replaced(Computed):
    """Computed weights, some of whose tensors are given."""

    def __init__(self, weights: Computed, tensors: Mapping[str, Tensor]) -> None:
        self._weights, self._tensors = weights, tensors
        self.specs = {**weights.specs, **specs(tensors)}

    def __getitem__(self, name: str) -> Tensor:
        stored = self.specs[name].tied
        return self._tensors[stored] if stored in self._tensors else self._weights[name]

    def astype(self, dtype: torch.dtype) -> Self:
        return type(self)(self._weights.astype(dtype), cast(dict(self._tensors), dtype))


def replaced(weights: Weights, tensors: Mapping[str, Tensor]) -> Weights:
    """Return weights with some of their tensors replaced: lazy ones stay so, and ties stay ties."""
    if isinstance(weights, Computed):
        return _Replaced(weights, tensors)
    return {**materialize(weights), **tensors}


def lerp(start: Weights, end: Weights, t: float) -> Weights:
    """Return (1 - t) * start + t * end; see `combine` for what it raises."""
    return combine([(1 - t, start), (t, end)])


def gram(models: Sequence[Weights], origin: Weights | None = None) -> dict[str, Tensor]:
    """Compute the inner products <theta_i - origin, theta_j - origin> of each tensor.

    Each tensor of each model is read once. An infinity that stands at the same place in all models
    (an attention mask) counts as 0.

    Args:
        models: K models of the same tensor names and shapes.
        origin: weights to subtract first; zero by default.

    Returns:
        For each tensor of real or complex numbers the products, float64 of shape (K, K) on the CPU.
        Tied tensors are listed once, under the first of their names.

    Raises:
        Incompatible: names or shapes differ.
    """
    if not models:
        return {}
    operands, tensors = prepare([*models] if origin is None else [*models, origin])
    first = operands[0]
    products = {}
    for name, spec in tensors.items():
        if averaged(spec.dtype) and spec.tied == name:
            device = torch.device("cpu") if isinstance(first, LazyWeights) else first[name].device
            readers = [reader(operand, name) for operand in operands]
            size = count(spec.shape, spec.dtype)
            products[name] = _products(readers, len(models), size, device)
    return products


def _products(readers: list[Reader], rows: int, size: int, device: torch.device) -> Tensor:
    """Multiply the first `rows` flat tensors with each other; a tensor after them is the origin.

    Args:
        size: of each, in real numbers. They are read in parts: the largest tensor of each of 72
            models of ViT-B/32 is as much as two models.
    """
    total = torch.zeros(rows, rows, dtype=torch.float64, device=device)
    block = max(1, CHUNK // rows)
    for start in range(0, size, block):
        end = min(start + block, size)
        stack = torch.empty(len(readers), end - start, dtype=torch.float64, device=device)
        for row, read in zip(stack, readers, strict=True):
            row.copy_(read(start, end))
        points = stack[:rows] - stack[rows:] if len(readers) > rows else stack
        products = points @ points.T
        if not bool(products.isfinite().all()):
            _, shared = shared_infinities(stack)
            points = points.masked_fill(shared, 0.0)
            products = points @ points.T
        total += products
    return total.cpu()
