"""Linear combinations of models, computed in parts that fit into the cache of a core.

The memory needed is that of a few parts, whatever the number and the size of the models.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Never

import torch
from torch import Tensor

from soup.errors import BadInput
from soup.weights.kinds import averaged
from soup.weights.mapping import LazyWeights, Reader, Weights, display_name, reader
from soup.weights.merged import Merged
from soup.weights.numbers import count, fitted, numbers, shared_infinities

# A thread sums CHUNK numbers at a time, in parts of CACHED numbers. Parts fit into the cache of a
# core and are too small for torch to split among its threads, which would cost more than it saves.
CHUNK = 1 << 19
CACHED = 1 << 15


class NotFinite(BadInput, ValueError):
    """Weights hold NaN or infinite numbers; the message names the models and counts the numbers."""


class LinearCombination(Merged):
    """sum_i factor_i * theta_i / divisor as lazy weights; see `soup.weights.algebra.combine`."""

    def __init__(
        self,
        factors: Sequence[float],
        divisor: float,
        models: Sequence[Weights],
        accumulate: torch.dtype,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__(models, dtype)
        self._factors, self._divisor, self._accumulate = factors, divisor, accumulate

    def _numbers(self, name: str, dtype: torch.dtype) -> Tensor:
        return torch.cat([*self.blocks([name])] or [torch.empty(0, dtype=dtype)])

    def blocks(self, names: Iterable[str]) -> Iterator[Tensor]:
        # The threads get the parts of all tensors as one queue, so that none waits for the others
        # at the end of a tensor.
        for name, part, finite in _computed_ahead(self._jobs(names)):
            if not finite:
                used = [m for c, m in zip(self._factors, self._models, strict=True) if c != 0]
                raise_not_finite(name, used, self.specs[name].dtype)
            yield part

    def _jobs(self, names: Iterable[str]) -> Iterator[Callable[[], tuple[str, Tensor, bool]]]:
        first = self._models[0]
        for name in names:
            spec = self.specs[name]
            if not averaged(spec.dtype):
                yield partial(lambda name: (name, first[name].reshape(-1), True), name)
                continue
            # Terms of factor zero are skipped, because 0 * inf is NaN.
            size = count(spec.shape, spec.dtype)
            device = torch.device("cpu") if isinstance(first, LazyWeights) else first[name].device
            terms = [
                (factor, reader(model, name))
                for factor, model in zip(self._factors, self._models, strict=True)
                if factor != 0
            ]
            chunk = CHUNK if device.type == "cpu" else size
            for start in range(0, size, max(1, chunk)):
                end = min(start + chunk, size)
                yield partial(self._part, name, spec.dtype.to_real(), device, terms, start, end)

    def _part(
        self,
        name: str,
        dtype: torch.dtype,
        device: torch.device,
        terms: Sequence[tuple[float, Reader]],
        start: int,
        end: int,
    ) -> tuple[str, Tensor, bool]:
        """Sum the numbers from `start` to `end`; return name, sum and whether all are finite."""
        out = torch.empty(end - start, dtype=dtype, device=device)
        cached = min(CACHED if device.type == "cpu" else len(out), len(out))
        total = out.new_zeros(cached, dtype=self._accumulate)
        finite = True
        for first in range(start, end, cached):
            last = min(first + cached, end)
            acc = total[: last - first]
            for position, (factor, read) in enumerate(terms):
                if position:
                    acc.add_(read(first, last).to(device), alpha=factor)
                else:  # three times as fast as adding to zero
                    acc.copy_(read(first, last))
                    if factor != 1:
                        acc.mul_(factor)
            if self._divisor != 1:
                acc.div_(self._divisor)
            result = out[first - start : last - start].copy_(acc)
            if not _is_finite(result):
                fitting, fits = fitted(acc, dtype, partial(_parts, terms, first, last))
                result.copy_(fitting)
                finite = finite and fits
        return name, out, finite


def _is_finite(rounded: Tensor) -> bool:
    """Whether all numbers are finite; False for float8, which may have no infinity to show it."""
    if rounded.dtype.itemsize == 1:
        return False
    low, high = rounded.aminmax()  # takes a tenth of the time of isfinite; passes NaN on
    return math.isfinite(low) and math.isfinite(high)


def _parts(terms: Sequence[tuple[float, Reader]], first: int, last: int) -> Iterator[Tensor]:
    return (read(first, last) for _, read in terms)


def _computed_ahead(jobs: Iterable[Callable[[], tuple[str, Tensor, bool]]]) -> Iterator[Any]:
    """Yield the results of the jobs in order, while threads compute the next few."""
    threads = torch.get_num_threads()
    if threads < 2:
        yield from (job() for job in jobs)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[tuple[str, Tensor, bool]]] = deque()
        for job in jobs:
            waiting.append(pool.submit(job))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def raise_not_finite(name: str, models: Sequence[Weights], dtype: torch.dtype) -> Never:
    """Raise `NotFinite`, which names each model whose tensor is not finite.

    Args:
        name: of the tensor whose result is not finite.
        models: those that were merged.
        dtype: of the result.
    """
    tensors = [numbers(model[name]) for model in models]
    _, shared = shared_infinities(tensors)
    counts = [int((~(t.double().isfinite().to(shared.device) | shared)).sum()) for t in tensors]
    reasons = [
        f"{display_name(model, position)}: {name} has {wrong} NaN or infinite of "
        f"{len(shared)} numbers"
        for position, (model, wrong) in enumerate(zip(models, counts, strict=True), start=1)
        if wrong
    ]
    if reasons:
        raise NotFinite("\n".join([*reasons, "leave out models that diverged"]))
    raise NotFinite(
        f"{name}: the result is too large for {dtype}\n"
        "give a dtype of a larger range (bfloat16, float32), or leave out models that diverged"
    )
