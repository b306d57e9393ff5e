"""The vector space of state dicts: everything a recipe does to weights.

`Weights` is any mapping from tensor names to tensors: a dictionary in memory, or a `Checkpoint`
over a file. Rules that hold for every function here:

- floating-point tensors are accumulated in float64 (or the given dtype) and cast back once;
- integer and boolean buffers (a BatchNorm's step counter) are taken from the first, never averaged;
- tensors that share memory in the first (tied embeddings) share it in the result;
- one tensor at a time is held beyond the result, so files of any number need little memory.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from soup.errors import BadInput

Weights = Mapping[str, Tensor]


class Incompatible(BadInput, ValueError):
    """Weights that cannot be combined; the message names each tensor and what differs."""


def differences(first: Weights, other: Weights) -> list[str]:
    """Every reason why two sets of weights cannot be averaged; empty if they can."""
    missing = [f"{name} is missing from the second" for name in first if name not in other]
    unexpected = [f"{name} is only in the second" for name in other if name not in first]
    shapes = [
        f"{name} is {tuple(first[name].shape)} in the first "
        f"and {tuple(other[name].shape)} in the second"
        for name in first
        if name in other and first[name].shape != other[name].shape
    ]
    return missing + unexpected + shapes


def require_compatible(first: Weights, other: Weights, names: tuple[str, str]) -> None:
    """Raise `Incompatible` with every difference between two named sets of weights."""
    found = differences(first, other)
    if found:
        listed = "\n  ".join(found[:20]) + (
            f"\n  and {len(found) - 20} more" if len(found) > 20 else ""
        )
        raise Incompatible(
            f"cannot average {names[0]} with {names[1]}:\n  {listed}\n"
            "fine-tune both from the same initialisation, head included"
        )


def combine(
    terms: Sequence[tuple[float, Weights]], accumulate: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """The linear combination sum_i c_i * theta_i.

    Args:
        terms: pairs of a coefficient and weights; all weights have the same names and shapes.
        accumulate: the dtype of the sum.

    Raises:
        ValueError: there are no terms.
        Incompatible: names or shapes differ.
    """
    if not terms:
        raise ValueError("nothing to combine: no weights were given")
    first = terms[0][1]
    for index, (_, weights) in enumerate(terms[1:], start=2):
        require_compatible(first, weights, ("weights 1", f"weights {index}"))

    def total(name: str, start: Tensor) -> Tensor:
        # Zero coefficients are skipped, so that 0 * inf does not make a NaN of a model left out.
        acc = torch.zeros(start.shape, dtype=accumulate, device=start.device)
        for coefficient, weights in terms:
            if coefficient != 0:
                term = start if weights is first else weights[name]
                acc.add_(term.to(acc), alpha=coefficient)
        return acc.to(start.dtype)

    return dict(_map(first, total))


def average(
    weights: Sequence[Weights],
    coefficients: Sequence[float] | None = None,
    accumulate: torch.dtype = torch.float64,
) -> dict[str, Tensor]:
    """The (weighted) mean of weights, theta = sum_i c_i theta_i / sum_i c_i; paper, section 2.

    Raises:
        ValueError: no weights, another number of coefficients, or they sum to zero.
        Incompatible: names or shapes differ.
    """
    if coefficients is None:
        mean = RunningMean(accumulate)
        for each in weights:
            mean.add(each)
        return mean.value()
    if len(coefficients) != len(weights):
        raise ValueError(f"{len(weights)} models but {len(coefficients)} coefficients")
    total = math.fsum(coefficients)
    if not math.isfinite(total) or total == 0:
        raise ValueError(f"the coefficients must have a finite sum other than 0, got {total}")
    pairs = [(c / total, w) for c, w in zip(coefficients, weights, strict=True)]
    return combine(pairs, accumulate)


def lerp(start: Weights, end: Weights, t: float) -> dict[str, Tensor]:
    """(1 - t) * start + t * end."""
    return combine([(1 - t, start), (t, end)])


def dot(a: Weights, b: Weights) -> float:
    """The inner product over all floating-point tensors."""
    return math.fsum(
        float(torch.dot(x.double().flatten(), b[name].double().flatten())) for name, x in _floats(a)
    )


def norm(a: Weights) -> float:
    """The Euclidean length over all floating-point tensors."""
    return math.sqrt(dot(a, a))


def angle(a: Weights, b: Weights, origin: Weights) -> float:
    """The angle in degrees between a - origin and b - origin."""
    u, v = combine([(1, a), (-1, origin)]), combine([(1, b), (-1, origin)])
    cosine = dot(u, v) / (norm(u) * norm(v))
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


class RunningMean:
    """A sum that greedy selection extends, so that each model is read once."""

    def __init__(self, accumulate: torch.dtype = torch.float64) -> None:
        self.count = 0
        self._accumulate = accumulate
        self._first: Weights = {}
        self._sum: dict[str, Tensor] = {}

    def add(self, weights: Weights) -> None:
        """Count one more model.

        Raises:
            Incompatible: names or shapes differ from the first's.
        """
        if self.count == 0:
            self._first = weights
            self._sum = {n: x.to(self._accumulate, copy=True) for n, x in _floats(weights)}
        else:
            require_compatible(self._first, weights, ("the first model", f"model {self.count + 1}"))
            for name, acc in self._sum.items():
                acc.add_(weights[name].to(acc))
        self.count += 1

    def value(self, candidate: Weights | None = None) -> dict[str, Tensor]:
        """The mean, of one model more if a candidate is given (which is not counted).

        Raises:
            ValueError: no model was added.
            Incompatible: the candidate's names or shapes differ.
        """
        if self.count == 0:
            raise ValueError("nothing to average: no weights were given")
        if candidate is not None:
            require_compatible(self._first, candidate, ("the soup", "the candidate"))
        count = self.count + (candidate is not None)

        def mean(name: str, start: Tensor) -> Tensor:
            acc = self._sum[name]
            total = acc if candidate is None else acc + candidate[name].to(acc)
            return (total / count).to(start.dtype)

        return dict(_map(self._first, mean))


def _floats(weights: Weights) -> Iterator[tuple[str, Tensor]]:
    for name in weights:
        tensor = weights[name]
        if tensor.is_floating_point():
            yield name, tensor


def _map(
    weights: Weights, function: Callable[[str, Tensor], Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """Each floating-point tensor through the function, once per tied group; the others copied."""
    done: dict[tuple[int, tuple[int, ...], tuple[int, ...]], Tensor] = {}
    for name in weights:
        tensor = weights[name]
        # Addresses tell ties only in a mapping that holds its tensors; a lazy one frees and reuses.
        tied = isinstance(weights, dict) and tensor.numel() > 0
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        if tied and key in done:
            yield name, done[key]
            continue
        value = function(name, tensor) if tensor.is_floating_point() else tensor.clone()
        if tied:
            done[key] = value
        yield name, value
