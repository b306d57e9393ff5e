"""The process group of a fine-tune on several devices: joining it, and averaging gradients.

Ranks read torchrun's variables: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT.
Gradients are averaged by DistributedDataParallel (Li et al., VLDB 2020), or the model itself is
sharded (`soup/train/fsdp.py`).
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from soup.errors import BadInput
from soup.train.fsdp import no_sync, shard
from soup.train.hyperparameters import Precision
from soup.train.rank import Rank

WANTED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
# The first rank writes weights and predictions alone, and the others wait for it.
PATIENCE = timedelta(hours=1)


class Unshareable(BadInput, ValueError):
    """A fine-tune that cannot run on several ranks; the message says why and what to change."""


@contextmanager
def joined(devices: Sequence[str]) -> Iterator[Rank]:
    """Join the process group, and yield this process's rank.

    Args:
        devices: those of this machine; the local rank is the index of this process's device.

    Raises:
        Unshareable: torchrun's variables are not set, or it started more ranks than there are
            devices.
    """
    missing = [name for name in WANTED if not os.environ.get(name)]
    if missing:
        raise Unshareable(
            f"{', '.join(missing)} not set: start it by torchrun --nproc-per-node {len(devices)}"
        )
    rank, world, local = (int(os.environ[name]) for name in WANTED[:3])
    if local >= len(devices):
        raise Unshareable(
            f"local rank {local} has no device: the job names {len(devices)} on each machine "
            f"({', '.join(devices)}); start torchrun with --nproc-per-node {len(devices)}"
        )
    device = torch.device(devices[local])
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    # What ranks agree on passes through the CPU's memory, gradients do not.
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=PATIENCE)
    yield Rank(rank, world, local)
    # Not after an error: that would wait for ranks that may be gone. The process ends instead.
    dist.destroy_process_group()


def with_weight(ranks: Rank, examples: int) -> Rank:
    """The rank, with the weight of its part of a batch.

    Args:
        examples: in a batch of all ranks.

    Raises:
        Unshareable: there are fewer examples than ranks.
    """
    if examples < ranks.world:
        raise Unshareable(
            f"a batch of {examples} images has none for some of {ranks.world} ranks; "
            "raise sweep.batch_size or lower compute.devices_per_run"
        )
    return replace(ranks, weight=len(ranks.of(examples)) * ranks.world / examples)


def spread(
    model: nn.Module,
    ranks: Rank,
    examples: int,
    accumulate: int,
    sharded: bool,
    precision: Precision,
    frozen_batchnorm: bool = False,
) -> tuple[nn.Module, Rank]:
    """A module that computes the model's output and averages gradients over ranks; and the rank.

    BatchNorm takes its statistics over all ranks, as one device would over the whole batch; if it
    is frozen it takes none.

    Args:
        model: on its device; changed in place.
        ranks: this process among all.
        examples: in a batch of all ranks.
        accumulate: parts that a batch is computed in.
        sharded: whether each rank keeps a part of every tensor, not a copy of the model.
        precision: of the passes of a sharded model.
        frozen_batchnorm: whether BatchNorm layers use the running statistics that they have.

    Returns:
        The module, which shares the model's parameters, and the rank with its weight.

    Raises:
        Unshareable: the ranks would deadlock, or the result would differ from that of one device.
    """
    ranks = with_weight(ranks, examples)
    device = next(model.parameters()).device
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if frozen_batchnorm:
        norms = [m for m in norms if m.running_mean is None]
    if norms and device.type == "cpu":
        raise Unshareable(
            f"{type(norms[0]).__name__}: torch takes statistics over several ranks on GPUs only; "
            "set compute.devices_per_run: 1 or sweep.frozen_batchnorm: true, or choose a model "
            "with GroupNorm or LayerNorm"
        )
    if (norms or sharded) and examples % (ranks.world * accumulate):
        raise Unshareable(
            f"{'a sharded model' if sharded else 'BatchNorm over several ranks'} needs parts of "
            f"equal size: make sweep.batch_size a multiple of devices_per_run x accumulate = "
            f"{ranks.world * accumulate}, it is {examples} now"
        )
    if sharded:
        shard(model, precision)
        return model, replace(ranks, no_sync=lambda: no_sync(model), parts=False)
    if norms:
        from timm.layers import convert_sync_batchnorm

        convert_sync_batchnorm(model)
    network: Any = DistributedDataParallel(
        model, device_ids=[device] if device.type == "cuda" else None, broadcast_buffers=False
    )
    return network, replace(ranks, no_sync=network.no_sync, parts=not norms)
