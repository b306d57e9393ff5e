"""A model spread over ranks, for one that does not fit on a device with gradients and moments.

Fully sharded data parallelism: each rank keeps a part of every tensor, and gathers a block's
weights when it computes that block (Rajbhandari et al., "ZeRO", SC 2020, stage 3; torch's
`fully_shard`). Weights are kept and updated in float32; in bfloat16 runs they are gathered as such,
and gradients summed in float32.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from soup.train.hyperparameters import Precision


def shard(model: nn.Module, precision: Precision) -> None:
    """Spread a model's tensors over all ranks, in place."""
    import torch.distributed as dist

    to: Any = model.to  # whose overloads do not know this form
    to(memory_format=torch.contiguous_format)  # the only one that can be spread
    kind = next(model.parameters()).device.type
    mesh = init_device_mesh(kind, (dist.get_world_size(),))
    low = torch.bfloat16 if precision == "bfloat16" else None
    inside = MixedPrecisionPolicy(param_dtype=low, reduce_dtype=torch.float32)
    outside = MixedPrecisionPolicy(
        param_dtype=low, reduce_dtype=torch.float32, output_dtype=torch.float32
    )
    for block in blocks(model):
        fully_shard(block, mesh=mesh, mp_policy=inside)
    fully_shard(model, mesh=mesh, mp_policy=outside)


def blocks(model: nn.Module) -> list[nn.Module]:
    """What is gathered at a time: the outermost members of lists of layers."""
    found: list[nn.Module] = []

    def look(module: nn.Module) -> None:
        for child in module.children():
            if isinstance(module, nn.Sequential | nn.ModuleList):
                found.append(child)
            else:
                look(child)

    look(model)
    return [block for block in found if any(True for _ in block.parameters())]


@contextmanager
def no_sync(model: Any) -> Iterator[None]:
    """Passes in which gradients stay where they are."""
    model.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        model.set_requires_gradient_sync(True)


def whole(tensor: Tensor) -> Tensor:
    """A tensor gathered from all ranks, each of which must ask; any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def placed(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, which every rank has, spread like another; or as it is, like a plain one."""
    if not isinstance(like, DTensor):
        return tensor
    given = tensor.to(like.device, like.dtype)
    return distribute_tensor(given, like.device_mesh, like.placements, src_data_rank=None)


def gathered(model: nn.Module, into: nn.Module) -> nn.Module:
    """A model that is not spread, with the present weights of one that is; all ranks must ask."""
    own = into.state_dict()
    for name, tensor in model.state_dict().items():
        own[name].copy_(whole(tensor))
    return into
