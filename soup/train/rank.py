"""One of the processes (ranks) that run a fine-tune together, and how it agrees with the others.

A run on one device is the only rank. No process group is then started, and every method
returns at once.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Rank:
    """One of `world` processes that run a fine-tune together.

    All ranks must call a method that communicates at the same point of the run.

    Attributes:
        rank: number of this process, from 0; rank 0 logs and writes files.
        world: number of ranks.
        local: number of this process among the ranks of its machine, from 0.
        weight: examples of a batch on this rank, divided by the mean over ranks. A loss scaled by
            it and averaged over ranks is the mean over the batch, though ranks have unequal
            numbers of examples.
        no_sync: a context in whose backward passes the ranks exchange no gradients.
        parts: whether a rank can compute its part of a batch without the others. If one rank then
            runs out of memory, no other waits for it in the middle of a pass, and all can halve.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    weight: float = 1.0
    no_sync: Callable[[], AbstractContextManager[object]] = nullcontext
    parts: bool = True

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def of(self, count: int, rank: int | None = None) -> range:
        """The contiguous part of `range(count)` that a rank (default: this one) works on."""
        rank = self.rank if rank is None else rank
        return range(rank * count // self.world, (rank + 1) * count // self.world)

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true on any rank."""
        if self.world == 1:
            return flag
        # On the CPU, where no rank has to wait for what its GPU is doing.
        raised = torch.tensor(int(flag))
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return bool(raised)

    def broadcast(self, value: int) -> int:
        """The `value` of rank 0."""
        if self.world == 1:
            return value
        first = torch.tensor(value)
        dist.broadcast(first, src=0)
        return int(first)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor, in place, by its mean over the ranks."""
        if self.world == 1:
            return
        for tensor in tensors:
            dist.all_reduce(tensor)
            tensor.div_(self.world)

    def join(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows of all ranks, on the CPU, in the order of ranks.

        Args:
            rows: those of this rank, on the CPU.
            counts: number of rows of each rank.
        """
        if self.world == 1:
            return rows
        pieces = [torch.empty(count, *rows.shape[1:], dtype=rows.dtype) for count in counts]
        pieces[self.rank] = rows.contiguous()
        for rank, piece in enumerate(pieces):
            if len(piece):
                dist.broadcast(piece, src=rank)
        return torch.cat(pieces)


ALONE = Rank()
