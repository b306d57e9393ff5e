"""The vector space of state dicts: everything a recipe does to weights.

`Weights` is any mapping from tensor names to tensors: a dictionary in memory, or a `Lazy` one such
as a `Checkpoint` over files. Rules that hold for every function here:

- floating-point tensors are accumulated in float64 (or the given dtype) and cast back once;
- integer and boolean buffers (a BatchNorm's step counter) are taken from the first, never averaged;
- tensors that share memory in all the models (tied embeddings) share it in the result;
- of files, the result is lazy too: a tensor is computed when asked for, so that files of any number
  and size need the memory of a few tensors.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from soup.weights.mapping import (
    Weights,
    materialize_if_eager,
    merged_specs,
    specs,
)
from soup.weights.streaming_sum import CHUNK, LinearCombination


def combine(
    terms: Sequence[tuple[float, Weights]],
    accumulate: torch.dtype = torch.float64,
    dtype: torch.dtype | None = None,
) -> Weights:
    """The linear combination sum_i c_i * theta_i.

    Args:
        terms: pairs of a coefficient and weights; all weights have the same names and shapes.
        accumulate: the dtype of the sum.
        dtype: of the result; the first's by default.

    Raises:
        ValueError: there are no terms.
        Incompatible: names or shapes differ.
        NotFinite: a tensor holds NaN or infinite numbers (raised when it is computed).
    """
    factors, models = [c for c, _ in terms], [w for _, w in terms]
    return materialize_if_eager(LinearCombination(factors, 1, models, accumulate, dtype), models)


def average(
    checkpoints: Sequence[Weights],
    weights: Sequence[float] | None = None,
    accumulate: torch.dtype = torch.float64,
    dtype: torch.dtype | None = None,
) -> Weights:
    """The (weighted) mean of models, theta = sum_i w_i theta_i / sum_i w_i; paper, section 2.

    Args:
        checkpoints: the models: dictionaries, or `Checkpoint`s over files.
        weights: one number a model; all equal by default.
        accumulate: the dtype of the sum.
        dtype: of the result's floating-point tensors; the first model's by default.

    Returns:
        A dictionary if all models are, else a mapping that computes each tensor when asked.

    Raises:
        ValueError: no models, another number of weights, or they sum to zero.
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


def lerp(start: Weights, end: Weights, t: float) -> Weights:
    """(1 - t) * start + t * end."""
    return combine([(1 - t, start), (t, end)])


def gram(models: Sequence[Weights], origin: Weights | None = None) -> dict[str, Tensor]:
    """Inner products <theta_i - origin, theta_j - origin>, tensor by tensor, in one pass.

    Returns:
        float64 (models, models) on the CPU for each floating-point tensor, tied ones once.

    Raises:
        Incompatible: names or shapes differ.
    """
    if not models:
        return {}
    every = [*models] if origin is None else [*models, origin]
    return {
        name: _products([model[name].reshape(-1) for model in every], len(models))
        for name, spec in merged_specs(every).items()
        if spec.dtype.is_floating_point and spec.tied == name
    }


def _products(tensors: list[Tensor], rows: int) -> Tensor:
    """Inner products of the first `rows` tensors, seen from the one after them if there is one."""
    device = tensors[0].device
    total = torch.zeros(rows, rows, dtype=torch.float64, device=device)
    block = max(1, CHUNK // rows)
    for at in range(0, tensors[0].numel(), block):
        stack = torch.stack([t[at : at + block].to(device, torch.float64) for t in tensors])
        points = stack[:rows] - stack[rows:] if len(tensors) > rows else stack
        total += points @ points.T
    return total.cpu()


def dot(a: Weights, b: Weights) -> float:
    """The inner product over all floating-point tensors."""
    return math.fsum(
        float(torch.dot(a[name].double().reshape(-1), b[name].double().reshape(-1)))
        for name, spec in specs(a).items()
        if spec.dtype.is_floating_point
    )


def norm(a: Weights) -> float:
    """The Euclidean length over all floating-point tensors."""
    return math.sqrt(dot(a, a))


def angle(a: Weights, b: Weights, origin: Weights) -> float:
    """The angle in degrees between a - origin and b - origin; NaN where one of them is zero."""
    products = torch.stack([*gram([a, b], origin).values()]).sum(dim=0).tolist()
    length = math.sqrt(products[0][0] * products[1][1])
    if length == 0:
        return math.nan
    return math.degrees(math.acos(max(-1.0, min(1.0, products[0][1] / length))))
