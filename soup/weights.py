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
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from soup.errors import BadInput
from soup.lazy import (
    Incompatible,
    Lazy,
    Spec,
    Weights,
    called,
    differences,
    held,
    in_kind,
    merged,
    require_compatible,
    specs,
    tensorwise,
)

__all__ = [
    "Incompatible",
    "Lazy",
    "NotFinite",
    "Spec",
    "Weights",
    "angle",
    "average",
    "called",
    "combine",
    "differences",
    "dot",
    "gram",
    "held",
    "lerp",
    "norm",
    "require_compatible",
    "specs",
    "tensorwise",
]

# What one thread sums at a time, and in which parts: these stay in a core's cache, and are small
# enough for torch not to spread each over threads of its own, which costs more than it saves.
CHUNK = 1 << 19
CACHED = 1 << 15


class NotFinite(BadInput, ValueError):
    """Weights with NaN or infinite numbers; says which model, which tensor and how many."""


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
    return in_kind(_Sum(factors, 1, models, accumulate, dtype), models)


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
    return in_kind(_Sum(factors, total, checkpoints, accumulate, dtype), checkpoints)


def lerp(start: Weights, end: Weights, t: float) -> Weights:
    """(1 - t) * start + t * end."""
    return combine([(1 - t, start), (t, end)])


class _Sum(Lazy):
    """sum_i c_i theta_i / divisor, block by block."""

    def __init__(
        self,
        factors: Sequence[float],
        divisor: float,
        models: Sequence[Weights],
        accumulate: torch.dtype,
        dtype: torch.dtype | None,
    ) -> None:
        self._factors, self._divisor, self._models = factors, divisor, models
        self._accumulate = accumulate
        self._specs = merged(models, dtype)

    @property
    def specs(self) -> Mapping[str, Spec]:
        return self._specs

    def __getitem__(self, name: str) -> Tensor:
        first = self._models[0][name]
        if not first.is_floating_point():
            return first.clone()
        out = torch.empty(first.shape, dtype=self._specs[name].dtype, device=first.device)
        at = 0
        for part in self.blocks(name):
            out.view(-1)[at : at + part.numel()] = part
            at += part.numel()
        return out

    def blocks(self, name: str) -> Iterator[Tensor]:
        tensors = [model[name].reshape(-1) for model in self._models]
        start, size = tensors[0], tensors[0].numel()
        if not start.is_floating_point():
            yield start
            return
        # Zero factors are skipped, so that 0 * inf does not make a NaN of a model left out.
        terms = [(c, t) for c, t in zip(self._factors, tensors, strict=True) if c != 0]
        dtype, on_cpu = self._specs[name].dtype, start.device.type == "cpu"
        limits = torch.finfo(dtype)
        chunk, cached = (CHUNK, CACHED) if on_cpu else (size, size)

        def part(first: int) -> tuple[Tensor, bool]:
            out = start.new_empty(min(chunk, size - first), dtype=dtype)
            total = start.new_empty(min(cached, len(out)), dtype=self._accumulate)
            fine = True
            for at in range(first, first + len(out), cached):
                end = min(at + cached, first + len(out))
                acc = total[: end - at].zero_()
                for position, (factor, tensor) in enumerate(terms):
                    if position == 0 and factor == 1:  # three times as fast as adding to zero
                        acc.copy_(tensor[at:end])
                    else:
                        acc.add_(tensor[at:end].to(acc.device), alpha=factor)
                if self._divisor != 1:
                    acc.div_(self._divisor)
                out[at - first : end - first] = acc
                low, high = acc.aminmax()  # a tenth of the time of isfinite; NaN comes through
                fine = fine and float(low) >= limits.min and float(high) <= limits.max
            return out, fine

        finite = True
        for out, fine in _ahead(part, range(0, size, max(1, chunk))):
            finite = finite and fine
            yield out
        if not finite:
            named = [m for c, m in zip(self._factors, self._models, strict=True) if c != 0]
            explain_infinite(name, start, named)

    def __str__(self) -> str:
        return f"a sum of {len(self._models)} models"


def _ahead(
    function: Callable[[int], tuple[Tensor, bool]], starts: range
) -> Iterable[tuple[Tensor, bool]]:
    """A map in order, a few results ahead of what is asked for."""
    threads = torch.get_num_threads()
    if len(starts) < 2 or threads < 2:
        yield from map(function, starts)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[tuple[Tensor, bool]]] = deque()
        for start in starts:
            waiting.append(pool.submit(function, start))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def explain_infinite(name: str, start: Tensor, models: Sequence[Weights]) -> None:
    """Raise `NotFinite` for those that are; an infinite mask that all of them share is meant so."""
    tensors = [model[name].reshape(-1) for model in models]
    counts = [int((~tensor.isfinite()).sum()) for tensor in tensors]
    if counts[0] and all(torch.equal(tensor, start) for tensor in tensors):
        return
    found = [
        f"{called(model, position)}: {name} has {count} NaN or infinite of {start.numel()} numbers"
        for position, (model, count) in enumerate(zip(models, counts, strict=True), start=1)
        if count
    ] or [f"{name}: the result is too large for {start.dtype}"]
    raise NotFinite("\n".join([*found, "leave out models that diverged"]))


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
        for name, spec in merged(every).items()
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
