"""Work dealt to threads, as many as cores were given; torch's operators use one thread in each."""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch

from soup.cores import cores

T = TypeVar("T")
S = TypeVar("S")
_here = threading.local()  # `lanes`: of this thread, where it is not torch's number of threads


def available() -> int:
    """The number of lanes: of the cores given to this process, at most torch's threads.

    So `OMP_NUM_THREADS` and `torch.set_num_threads` limit lanes as they limit torch.
    """
    lanes: int | None = getattr(_here, "lanes", None)
    threads = torch.get_num_threads()
    return lanes or (1 if threads == 1 else min(threads, cores()))  # `cores` reads files


def dealt(
    compute: Callable[[T], S],
    parts: Iterable[T],
    lanes: int,
    enough: Callable[[int], bool] | None = None,
) -> Generator[S]:
    """`compute` of each part in lanes, in the order of the parts; nothing is tried out before.

    Args:
        enough: of a caller that may stop early: the number of parts whose results it does not have
            yet -> whether it will probably stop at them, so that no other is begun before.
    """
    if is_alone(lanes):
        yield from map(compute, parts)
        return
    waiting, pool = deque[Future[S]](), workers(lanes)
    # One more for each lane waits, so that none is idle while the caller uses a result. A caller
    # that may stop at the first results would have to wait for these, too.
    most = 2 * lanes if enough is None else lanes
    try:
        for part in parts:
            waiting.append(pool.submit(compute, part))
            while waiting and (len(waiting) >= most or (enough and enough(len(waiting)))):
                yield waiting.popleft().result()
                most = 2 * lanes
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        wait(waiting)


@contextmanager
def one_thread() -> Iterator[None]:
    """Have operators use one thread: sums depend in their last bits on how many share them.

    What is dealt to lanes is dealt to as many as before.
    """
    threads, lanes = torch.get_num_threads(), getattr(_here, "lanes", None)
    _here.lanes = available()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        _here.lanes = lanes


def is_alone(lanes: int) -> bool:
    """Whether the caller's thread can be the only lane, for its operators use no other."""
    return lanes == 1 and torch.get_num_threads() == 1


@cache
def workers(count: int) -> ThreadPoolExecutor:
    """Threads in which torch's operators use one thread."""
    ready, threads = threading.Barrier(count + 1), torch.get_num_threads()

    def begin() -> None:
        _here.lanes = 1
        # The number is of this thread, and the default of all threads. The first call for it takes
        # the default, as the first operator would, so that later changes do not reach this thread.
        torch.set_num_threads(1)
        torch.get_num_threads()
        ready.wait()

    pool = ThreadPoolExecutor(count, "lane", begin)
    for _ in range(count):
        pool.submit(int)
    ready.wait()
    torch.set_num_threads(threads)
    return pool


if hasattr(os, "register_at_fork"):  # threads are not there in a forked process
    os.register_at_fork(after_in_child=workers.cache_clear)
