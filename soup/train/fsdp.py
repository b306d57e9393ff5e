"""A model sharded over ranks, for a model that does not fit on a device with its optimiser state.

Fully sharded data parallelism: each rank keeps a part of every tensor, and gathers the weights of a
block when it computes that block (Rajbhandari et al., "ZeRO", SC 2020, stage 3; torch's
`fully_shard`). Weights are kept and updated in float32; in bfloat16 runs they are gathered as such,
and gradients summed in float32.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from soup.train.hyperparameters import Precision


def shard(model: nn.Module, precision: Precision) -> None:
    """Shard a model's tensors over all ranks, in place."""
    to: Any = model.to  # its declared overloads lack this form
    to(memory_format=torch.contiguous_format)  # the only one that can be sharded
    kind = next(model.parameters()).device.type
    mesh = init_device_mesh(kind, (dist.get_world_size(),))
    low = torch.bfloat16 if precision == "bfloat16" else None
    of_blocks = MixedPrecisionPolicy(param_dtype=low, reduce_dtype=torch.float32)
    of_model = MixedPrecisionPolicy(
        param_dtype=low, reduce_dtype=torch.float32, output_dtype=torch.float32
    )
    for block in blocks(model):
        fully_shard(block, mesh=mesh, mp_policy=of_blocks)
    fully_shard(model, mesh=mesh, mp_policy=of_model)


def blocks(model: nn.Module) -> list[nn.Module]:
    """The modules that are gathered one at a time: the outermost members of lists of layers."""
    members: list[nn.Module] = []

    def look(module: nn.Module) -> None:
        for child in module.children():
            if isinstance(module, nn.Sequential | nn.ModuleList):
                members.append(child)
            else:
                look(child)

    look(model)
    return [block for block in members if any(True for _ in block.parameters())]


@contextmanager
def no_sync(model: Any) -> Iterator[None]:
    """A context in whose backward passes the ranks exchange no gradients."""
    model.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        model.set_requires_gradient_sync(True)


def whole(tensor: Tensor) -> Tensor:
    """Gather a sharded tensor; all ranks must call this. Any other tensor is returned as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def placed(tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor, which every rank has, sharded as `like` is, or with its order in memory.

    A fused optimiser reads a parameter and its state in one order; on a CPU, torch 2.15 steps
    wrongly, without an error, where these differ.
    """
    if not isinstance(like, DTensor):
        return torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
    moved = tensor.to(like.device, like.dtype)
    return distribute_tensor(moved, like.device_mesh, like.placements, src_data_rank=None)


def gathered(model: nn.Module, into: nn.Module) -> nn.Module:
    """Copy the weights of a sharded model into one that is not; all ranks must call this."""
    targets = into.state_dict()
    for name, tensor in model.state_dict().items():
        targets[name].copy_(whole(tensor))
    return into
