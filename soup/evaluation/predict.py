"""A model's logits on labelled examples."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from soup.evaluation.examples import Examples
from soup.evaluation.metrics import Logits
from soup.models.lanes import Deal, deal, in_lanes


@torch.inference_mode()
def predict(
    model: nn.Module,
    examples: Examples,
    batch_size: int = 256,
    bf16: bool = False,
    indices: NDArray[np.int64] | None = None,
    advance: Callable[[int], object] = lambda _: None,
) -> Logits:
    """The unnormalised logits of a model, float32 (examples, classes).

    Args:
        model: in evaluation mode, on the device that it runs on.
        batch_size: examples in each forward pass.
        bf16: compute in bfloat16 on a CUDA device; leaves about three decimal digits of a logit.
        indices: of the examples to predict, at least one; None for all.
        advance: called with the number of examples of each batch.
    """
    device = next(model.parameters()).device
    chosen = np.arange(len(examples)) if indices is None else indices
    with torch.autocast("cuda", torch.bfloat16, enabled=bf16 and device.type == "cuda"):
        rows = computed(model, model, examples, chosen, batch_size, advance)
    logits: Logits = rows.numpy()
    return logits


def computed(
    model: nn.Module,
    compute: Callable[[Tensor], Tensor],
    examples: Examples,
    indices: NDArray[np.int64],
    batch_size: int,
    advance: Callable[[int], object] = lambda _: None,
) -> Tensor:
    """What a function gives for examples, float32 on the CPU, a row for each of the indices.

    Args:
        model: that `compute` uses.
        compute: a batch of the model's input, on the model's device -> (batch, ...).
        indices: of the examples, each once.
        batch_size: the most examples in the model at once.
        advance: called with the number of examples of each batch.
    """
    # The rows stay on a GPU to the end: each copy to the CPU would wait for the model.
    parts = []
    for part in outputs(model, compute, examples, indices, batch_size):
        parts.append(part)
        advance(len(part))
    rows = torch.cat(parts).cpu()
    if examples.groups(indices[:1], 1) is None:
        return rows
    batches = batches_of(examples, indices, batch_size, next(model.parameters()).device)
    groups = split(examples, indices, batches.size)
    row_of = np.empty(int(indices.max()) + 1, np.int64)
    row_of[np.concatenate(groups)] = np.arange(len(indices))
    return rows[torch.from_numpy(row_of[indices])]


def outputs(
    model: nn.Module,
    compute: Callable[[Tensor], Tensor],
    examples: Examples,
    indices: NDArray[np.int64],
    batch_size: int,
) -> Iterator[Tensor]:
    """What a function gives for one batch after the other, float32 on the model's device.

    The arguments are those of `computed`.
    """
    device = next(model.parameters()).device
    if device.type != "cpu":
        for batch in examples.batches(indices, batch_size, device):
            yield compute(batch).float()
        return
    batches = batches_of(examples, indices, batch_size, device)
    parts = split(examples, indices, batches.size)
    yield from in_lanes(
        model,
        lambda compact: compute(examples.prepare(compact)).float(),
        examples.compact,
        parts,
        batches.lanes,
    )


def batches_of(
    examples: Examples, indices: NDArray[np.int64], batch_size: int, device: torch.device
) -> Deal:
    """How examples are dealt to the lanes of a device; indices of at least one."""
    if device.type != "cpu" or examples.groups(indices[:1], 1) is not None:
        return deal(batch_size, device, None)
    return deal(batch_size, device, examples.compact(indices[:1])[0].numel())


def split(examples: Examples, indices: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """The indices of each batch."""
    groups = examples.groups(indices, size)
    if groups is not None:
        return groups
    return [indices[start : start + size] for start in range(0, len(indices), size)]
