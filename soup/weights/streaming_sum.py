"""Sums of models, made where the numbers are: in parts that stay in a core's cache.

Whatever the number and the size of the models, the memory of a few parts is needed.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
from torch import Tensor

from soup.errors import BadInput
from soup.weights.mapping import (
    LazyWeights,
    Reader,
    Spec,
    Weights,
    display_name,
    merged_specs,
    reader,
)

# What one thread sums at a time, and in which parts: these stay in a core's cache, and are small
# enough for torch not to spread each over threads of its own, which costs more than it saves.
CHUNK = 1 << 19
CACHED = 1 << 15


class NotFinite(BadInput, ValueError):
    """Weights with NaN or infinite numbers; says which model, which tensor and how many."""


class LinearCombination(LazyWeights):
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
        self._specs = merged_specs(models, dtype)

    @property
    def specs(self) -> Mapping[str, Spec]:
        return self._specs

    def __getitem__(self, name: str) -> Tensor:
        spec = self._specs[name]
        if not spec.dtype.is_floating_point:
            return self._models[0][name].clone()
        parts = [*self.blocks([name])]
        flat = torch.cat(parts) if parts else torch.empty(0, dtype=spec.dtype)
        return flat.view(spec.shape)

    def blocks(self, names: Iterable[str]) -> Iterator[Tensor]:
        # One pipeline over all tensors: a thread that is done with one begins with the next.
        for name, part, finite in _ahead(self._jobs(names)):
            if not finite:
                used = [m for c, m in zip(self._factors, self._models, strict=True) if c != 0]
                raise_not_finite(name, self._models[0][name], used)
            yield part

    def _jobs(self, names: Iterable[str]) -> Iterator[Callable[[], tuple[str, Tensor, bool]]]:
        first = self._models[0]
        for name in names:
            spec = self._specs[name]
            if not spec.dtype.is_floating_point:
                yield partial(lambda name: (name, first[name].reshape(-1), True), name)
                continue
            # Zero factors are skipped: 0 * inf would make a NaN of a model left out.
            size = math.prod(spec.shape)
            device = torch.device("cpu") if isinstance(first, LazyWeights) else first[name].device
            terms = [
                (factor, _on(device, model, name))
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
        """Some numbers of the sum, and whether all of them are finite."""
        out = torch.empty(end - start, dtype=dtype, device=device)
        cached = min(CACHED if device.type == "cpu" else len(out), len(out))
        total = out.new_zeros(cached, dtype=self._accumulate)
        limits, finite = torch.finfo(dtype), True
        for at in range(start, end, cached):
            last = min(at + cached, end)
            acc = total[: last - at]
            for position, (factor, read) in enumerate(terms):
                if position:
                    acc.add_(read(at, last), alpha=factor)
                else:  # three times as fast as adding to zero
                    acc.copy_(read(at, last))
                    if factor != 1:
                        acc.mul_(factor)
            if self._divisor != 1:
                acc.div_(self._divisor)
            out[at - start : last - start] = acc
            low, high = acc.aminmax()  # a tenth of the time of isfinite; NaN comes through
            finite = finite and float(low) >= limits.min and float(high) <= limits.max
        return name, out, finite

    def __str__(self) -> str:
        return f"a sum of {len(self._models)} models"


def _on(device: torch.device, model: Weights, name: str) -> Reader:
    """Files are read on the CPU, and dictionaries may be anywhere."""
    read = reader(model, name)
    if device.type == "cpu" and isinstance(model, LazyWeights):
        return read
    return lambda first, last: read(first, last).to(device)


def _ahead(jobs: Iterable[Callable[[], tuple[str, Tensor, bool]]]) -> Iterator[Any]:
    """The jobs' results in order, a few of them done ahead of what is asked for."""
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
    """Raise `NotFinite` for those that are; an infinite mask that all of them share is meant so."""
    tensors = [model[name].reshape(-1) for model in models]
    counts = [int((~tensor.isfinite()).sum()) for tensor in tensors]
    if counts[0] and all(torch.equal(tensor, start) for tensor in tensors):
        return
    found = [
        f"{display_name(model, position)}: {name} has {count} NaN or infinite of "
        f"{start.numel()} numbers"
        for position, (model, count) in enumerate(zip(models, counts, strict=True), start=1)
        if count
    ] or [f"{name}: the result is too large for {start.dtype}"]
    raise NotFinite("\n".join([*found, "leave out models that diverged"]))
