"""Ranks as threads of one process, to test what they agree on without starting any."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from soup.train.rank import Rank
from tests.waiting import PATIENCE

Made = TypeVar("Made")


class Table:
    """Where threads lay down what they have, and see what all have."""

    def __init__(self, world: int) -> None:
        self._barrier = threading.Barrier(world, timeout=PATIENCE)
        self._laid: list[Any] = [None] * world

    def all(self, rank: int, own: Any) -> list[Any]:
        self._laid[rank] = own
        self._barrier.wait()
        found = list(self._laid)
        self._barrier.wait()
        return found


@dataclass(frozen=True)
class Threaded(Rank):
    """A rank that is a thread."""

    table: Table = field(default_factory=lambda: Table(1))

    def any(self, flag: bool) -> bool:
        return any(self.table.all(self.rank, flag))

    def broadcast(self, value: int) -> int:
        first: int = self.table.all(self.rank, value)[0]
        return first

    def average(self, tensors: Sequence[Tensor]) -> None:
        everyone = self.table.all(self.rank, [t.clone() for t in tensors])
        for index, tensor in enumerate(tensors):
            tensor.copy_(torch.stack([each[index] for each in everyone]).mean(dim=0))

    def join(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        found = self.table.all(self.rank, rows)
        assert [len(each) for each in found] == [*counts]
        return torch.cat(found)


def together(world: int, work: Callable[[Threaded], Made]) -> list[Made]:
    """What each rank makes."""
    table = Table(world)
    shares = [Threaded(rank=rank, world=world, table=table) for rank in range(world)]
    with ThreadPoolExecutor(world) as pool:
        return [*pool.map(work, shares)]
