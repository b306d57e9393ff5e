"""Forward passes in lanes: on a CPU, several threads compute batches of the same model.

A lane is a thread that computes whole batches, and whose operators use no other thread. There is
one for each core that this process was given. This is faster than operators that share each batch
among the cores: these wait at the end of each operator until the slowest core is done, which beside
other programs takes most of the time (`benchmarks/lanes.py`).

Results do not depend on the number of lanes, to the last bit: which examples are in a batch is
decided before batches are dealt to lanes, by the batch size and the size of an example alone;
operators always run in one thread; and results are returned in the order of the batches. For the
same reason nothing here is chosen by measuring times: batches of another size have other last bits.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from soup.models.freed_memory import keep_freed_memory
from soup.models.thread_safety import safe
from soup.threads import available, dealt, is_alone, workers

T = TypeVar("T")
S = TypeVar("S")
Part = TypeVar("Part", NDArray[np.int64], Tensor)
VALUES = 1_048_576  # of a batch's inputs: the activations of most models then stay in the caches
SMALLEST, LARGEST = 16, 64
TEXTS = 32
FEW = 2  # examples that a model is tried out on


@dataclass(frozen=True)
class Deal:
    """How examples are dealt.

    Attributes:
        size: examples of a batch.
        lanes: the most batches that are computed at once.
    """

    size: int
    lanes: int


def deal(batch_size: int, device: torch.device, values: int | None) -> Deal:
    """The batches of a pass.

    On a CPU a batch is smaller than `batch_size`, so that the batches of all lanes need no more
    memory together than one batch of that size. This also takes less time, because activations
    stay in the caches: in one thread, EfficientNet-Lite0 at 224 pixels computes 64 images a second
    in batches of 16, 44 in batches of 32, and 29 in batches of 128.

    Args:
        batch_size: the most examples in the model at once; on a CPU at least 64 in all lanes.
        values: numbers that one example has as the input of the model; None for texts.
    """
    if device.type != "cpu":
        return Deal(batch_size, 1)
    size = TEXTS
    if values is not None:
        fitting = max(1, VALUES // max(1, values))
        size = min(max(1 << fitting.bit_length() - 1, SMALLEST), LARGEST)
    size = min(size, batch_size)
    return Deal(size, max(batch_size, LARGEST) // size)


def in_lanes(
    model: nn.Module,
    compute: Callable[[Tensor], Tensor],
    load: Callable[[Part], Tensor],
    parts: Sequence[Part],
    most: int,
    enough: Callable[[int], bool] | None = None,
    in_memory: bool = False,
) -> Generator[Tensor]:
    """What `compute` gives for each part that was loaded, in the order of the parts.

    On a CPU, `compute` is called in several threads, in inference mode; elsewhere in the caller's
    thread as it is. If the caller stops early, parts that are computed at that time are waited for.

    Args:
        model: that `compute` uses. Before its first pass, its results in several threads are
            compared with those in one; if they differ, it has one lane.
        compute: what `load` gives -> a tensor.
        load: a part -> its examples. In a single lane it is called one part ahead
            (but see `in_memory`).
        parts: of each batch, the indices of its examples.
        most: lanes at most.
        enough: see `soup.threads.dealt`.
        in_memory: whether `load` only copies from memory, so that calling it ahead, which takes
            another thread, would gain nothing.
    """
    parameter = next(model.parameters(), None)
    if parameter is not None and parameter.device.type != "cpu":
        for part in parts:
            yield compute(load(part))
        return
    keep_freed_memory()

    def computed(part: Part) -> Tensor:
        return inferred(load(part))

    def inferred(loaded: Tensor) -> Tensor:
        with torch.inference_mode():
            return compute(loaded)

    lanes = max(1, min(most, available(), len(parts)))
    if lanes > 1:
        few = [parts[0][:FEW], parts[-1][:FEW]]  # of texts, the longest and the shortest
        lanes = lanes if safe(model, computed, few, workers(lanes), lanes) else 1
    if is_alone(lanes):
        yield from map(inferred, map(load, parts) if in_memory else ahead(load, parts))
        return
    yield from dealt(computed, parts, lanes, enough)


def gradients_in_lanes(
    model: nn.Module,
    gradients: Callable[[Tensor], S],
    outputs: Callable[[Tensor], Tensor],
    parts: Sequence[Tensor],
    most: int,
) -> Iterator[S]:
    """What `gradients` gives for each part, in the order of the parts; not in inference mode.

    Args:
        model: on the CPU; it is compared as by `in_lanes`.
        gradients: a part -> the gradients of its loss, by `torch.autograd.grad`: the threads share
            the parameters, and must write nothing to them.
        outputs: a part -> the model's outputs, by which it is compared.
        parts: of each batch, the indices of its examples.
        most: lanes at most.
    """

    def inferred(part: Tensor) -> Tensor:
        with torch.inference_mode():
            return outputs(part)

    keep_freed_memory()
    lanes = max(1, min(most, available(), len(parts)))
    if lanes > 1:
        few = [parts[0][:FEW], parts[-1][:FEW]]
        lanes = lanes if safe(model, inferred, few, workers(lanes), lanes) else 1
    return dealt(gradients, parts, lanes)


def ahead(load: Callable[[T], S], parts: Iterable[T]) -> Iterator[S]:
    """What `load` gives for each part, the next being loaded while one is used."""
    with ThreadPoolExecutor(1) as pool:
        loading: Future[S] | None = None
        for part in parts:
            following = pool.submit(load, part)
            if loading is not None:
                yield loading.result()
            loading = following
        if loading is not None:
            yield loading.result()
