"""Prefetching: the next batch is prepared while the model computes on the present one."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from soup.data.loading.images import Images

Group = tuple[Tensor, ...]


def on_device(
    batches: Iterable[Group], device: torch.device, prepare: Callable[[Tensor], Tensor]
) -> Iterator[Group]:
    """Move batches to a device, and apply `prepare` there to the first tensor of each.

    On CUDA the next batch is copied from pinned memory on a stream of its own, while the model
    computes on the present one. On the CPU nothing overlaps: the same cores would do both.

    Args:
        batches: tuples of tensors.
        prepare: the first tensor of a batch, on the device -> the model's input.
    """
    if device.type != "cuda":
        for first, *others in batches:
            yield prepare(first.to(device)), *(t.to(device) for t in others)
        return
    stream, waiting = torch.cuda.Stream(device), None
    for batch in batches:
        with torch.cuda.stream(stream):
            first, *others = (t.pin_memory().to(device, non_blocking=True) for t in batch)
            moved = (prepare(first), *others), stream.record_event()
        if waiting is not None:
            yield _arrived(*waiting, device)
        waiting = moved
    if waiting is not None:
        yield _arrived(*waiting, device)


def _arrived(batch: Group, sent: torch.cuda.Event, device: torch.device) -> Group:
    stream = torch.cuda.current_stream(device)
    stream.wait_event(sent)
    for tensor in batch:
        tensor.record_stream(stream)  # its memory must not be reused before the stream is done
    return batch


def parts(images: Images, indices: NDArray[np.int64], size: int) -> Iterator[NDArray[np.uint8]]:
    """The images at `indices`, `size` at a time: uint8 (images, height, width, 3).

    Images without `pixels` are decoded one part ahead, in threads.
    """
    chosen = [indices[start : start + size] for start in range(0, len(indices), size)]
    if images.pixels is not None:
        yield from map(images.part, chosen)
        return
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(images.part, chosen[0])
        for following in chosen[1:]:
            pixels, ahead = ahead.result(), pool.submit(images.part, following)
            yield pixels
        yield ahead.result()
