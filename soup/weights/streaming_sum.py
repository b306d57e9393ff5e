"""Linear combinations of models, computed in parts that fit into the cache of a core.

The memory needed is that of a few parts, whatever the number and the size of the models.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
from torch import Tensor

from soup.errors import BadInput
from soup.weights.mapping import (
    LazyWeights,
    Merged,
    Reader,
    Weights,
    display_name,
    reader,
)

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
        super().__init__(models, self._sum, dtype)
        self._factors, self._divisor, self._accumulate = factors, divisor, accumulate

    def _sum(self, name: str) -> Tensor:
        parts = [*self.blocks([name])]
        return torch.cat(parts or [torch.empty(0)]).view(self.specs[name].shape)

    def blocks(self, names: Iterable[str]) -> Iterator[Tensor]:
        # The threads get the parts of all tensors as one queue, so that none waits for the others
        # at the end of a tensor.
        for name, part, finite in _computed_ahead(self._jobs(names)):
            if not finite:
                used = [m for c, m in zip(self._factors, self._models, strict=True) if c != 0]
                raise_not_finite(name, self._models[0][name], used)
            yield part

    def _jobs(self, names: Iterable[str]) -> Iterator[Callable[[], tuple[str, Tensor, bool]]]:
        first = self._models[0]
        for name in names:
            spec = self.specs[name]
            if not spec.dtype.is_floating_point:
                yield partial(lambda name: (name, first[name].reshape(-1), True), name)
                continue
            # Terms of factor zero are skipped, because 0 * inf is NaN.
            size = math.prod(spec.shape)
            device = torch.device("cpu") if isinstance(first, LazyWeights) else first[name].device
            terms = [
                (factor, reader(model, name))
                for factor, model in zip(self._factors, self._models, strict=True)
                if factor != 0
            ]
            chunk = CHUNK if device.type == "cpu" else size
            for start in range(0, size, max(1, chunk)):
                end = min(start + chunk, size)
                yield partial(self._part, name, spec.dtype, device, terms, start, end)

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
        limits, finite = torch.finfo(dtype), True
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
            out[first - start : last - start] = acc
            low, high = acc.aminmax()  # takes a tenth of the time of isfinite; passes NaN on
            finite = finite and float(low) >= limits.min and float(high) <= limits.max
        return name, out, finite


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


def raise_not_finite(name: str, start: Tensor, models: Sequence[Weights]) -> None:
    """Raise `NotFinite`, which names each model whose tensor is not finite.

    Return without an error if the tensor is not finite but the same in all models, such as an
    attention mask of minus infinity, which is meant to be so.

    Args:
        name: of the tensor whose result is not finite.
        start: that tensor of the first model.
        models: the models whose factor is not zero.
    """
    tensors = [model[name].reshape(-1) for model in models]
    counts = [int((~tensor.isfinite()).sum()) for tensor in tensors]
    if counts[0] and all(torch.equal(tensor, start) for tensor in tensors):
        return
    reasons = [
        f"{display_name(model, position)}: {name} has {count} NaN or infinite of "
        f"{start.numel()} numbers"
        for position, (model, count) in enumerate(zip(models, counts, strict=True), start=1)
        if count
    ] or [f"{name}: the result is too large for {start.dtype}"]
    raise NotFinite("\n".join([*reasons, "leave out models that diverged"]))
