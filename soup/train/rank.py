"""One process's share of a fine-tune, and what it agrees on with the others.

A run on one device is a share of everything, for which all of this costs nothing: there is nobody
to ask, and `torch.distributed` is neither imported nor started.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rank:
    """What one of `world` processes (ranks) does of a run.

    Every method is called by all ranks, at the same place of the run.

    Attributes:
        rank: its number among all, from 0; it is the first that logs and writes.
        world: how many there are.
        local: its number among those of this machine.
        weight: its examples of a batch, as a share of an equal share; the mean over ranks of what
            is scaled by it is the mean over the batch, though ranks have unequal numbers.
        apart: a context in whose passes the ranks exchange no gradients.
        parts: whether whole batches can be computed apart. If so, and one rank runs out of memory,
            the others are not waiting for it in the middle of a pass, and all can halve.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    weight: float = 1.0
    no_sync: Callable[[], AbstractContextManager[object]] = nullcontext
    parts: bool = True

    @property
    def first(self) -> bool:
        return self.rank == 0

    def of(self, count: int, rank: int | None = None) -> range:
        """The indices, among `count`, that are this rank's: one stretch, none left out."""
        rank = self.rank if rank is None else rank
        return range(rank * count // self.world, (rank + 1) * count // self.world)

    def any(self, flag: bool) -> bool:
        """Whether it is so on any rank."""
        if self.world == 1:
            return flag
        import torch.distributed as dist

        # On the CPU, where no rank has to wait for what its GPU is doing.
        found = torch.tensor(int(flag))
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return bool(found)

    def broadcast(self, value: int) -> int:
        """What the first rank says."""
        if self.world == 1:
            return value
        import torch.distributed as dist

        said = torch.tensor(value)
        dist.broadcast(said, src=0)
        return int(said)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each by its mean over the ranks."""
        if self.world == 1:
            return
        import torch.distributed as dist

        for tensor in tensors:
            dist.all_reduce(tensor)
            tensor.div_(self.world)

    def join(self, own: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows of all ranks, on the CPU, in order.

        Args:
            own: this rank's rows, on the CPU.
            counts: of rows, of each rank.
        """
        if self.world == 1:
            return own
        import torch.distributed as dist

        pieces = [torch.empty(count, *own.shape[1:], dtype=own.dtype) for count in counts]
        pieces[self.rank] = own.contiguous()
        for rank, piece in enumerate(pieces):
            if len(piece):
                dist.broadcast(piece, src=rank)
        return torch.cat(pieces)


ALONE = Rank()
