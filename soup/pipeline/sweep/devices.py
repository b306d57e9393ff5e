"""Which devices a fine-tune gets, and how many run at once."""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from soup.config.compute import Compute
from soup.cores import cores
from soup.errors import BadInput

Devices = tuple[str, ...]


class NoDevices(BadInput, ValueError):
    """What `compute` asks for is more than this machine has; says what there is."""


@dataclass(frozen=True)
class Groups:
    """The devices of the fine-tunes that run at once.

    Attributes:
        groups: of devices, each of which takes one fine-tune after the other.
        threads: of computation on the CPU, for each process.
        note: what a person should know; '' if nothing.
    """

    groups: tuple[Devices, ...]
    threads: int
    note: str = ""


def groups(compute: Compute, runs: int) -> Groups:
    """Share out this machine's GPUs, or its cores, among fine-tunes.

    Args:
        runs: how many fine-tunes there are.

    Raises:
        NoDevices: a GPU is asked for and there is none, or one fine-tune is to have more than all.
    """
    import torch

    gpus = torch.cuda.device_count() if compute.device != "cpu" else 0
    have_cores = cores()
    if compute.device == "cuda" and gpus == 0:
        raise NoDevices("compute.device is cuda, but torch sees no GPU; set it to auto or cpu")
    per_run, have = compute.devices_per_run, gpus or have_cores
    what = "GPUs" if gpus else "CPU cores"
    if per_run > have:
        raise NoDevices(
            f"compute.devices_per_run is {per_run}, but this machine has {have} {what}; lower it, "
            "or start the ranks on several machines by torchrun -m soup.train.distributed"
        )
    _require_several_if_sharded(compute)
    room = have // per_run
    names = [f"cuda:{index}" if gpus else "cpu" for index in range(room * per_run)]
    device_groups = [tuple(names[index * per_run : (index + 1) * per_run]) for index in range(room)]
    count = min(compute.slots or room, runs)
    used = min(count, room) * per_run
    left = [f"cuda:{index}" for index in range(used, gpus)] if per_run > 1 else []
    note = (
        f"{count} fine-tunes at once on {per_run} GPUs each; {', '.join(left)} left idle"
        if left
        else ""
    )
    chosen = tuple(device_groups[index % room] for index in range(count))
    return Groups(chosen, max(1, have_cores // (count * per_run)), note)


@dataclass(frozen=True)
class Worker:
    """A machine, or a part of one, that a fine-tune must fit into.

    Attributes:
        name: for people.
        cores, gpus: how many of each it may use.
    """

    name: str
    cores: int
    gpus: int


@dataclass(frozen=True)
class Capacity:
    """What a cluster has room for.

    Attributes:
        slots: fine-tunes at once.
        device: 'cuda' or 'cpu'.
        cores: for each fine-tune.
        threads: of computation on the CPU, for each of its processes.
    """

    slots: int
    device: Literal["cpu", "cuda"]
    cores: int
    threads: int


def room(compute: Compute, workers: Sequence[Worker], where: str, runs: int) -> Capacity:
    """How many fine-tunes run at once on the workers of a cluster, and on what.

    Args:
        where: what the workers are of, for people.
        runs: how many fine-tunes there are.

    Raises:
        NoDevices: there is no worker, no GPU where one is asked for, or none that holds a
            fine-tune.
    """
    if not workers:
        raise NoDevices(f"{where} has no workers; start one, then run again")
    on_gpus = compute.device != "cpu" and any(worker.gpus for worker in workers)
    if compute.device == "cuda" and not on_gpus:
        raise NoDevices(f"compute.device is cuda, but no worker of {where} offers a GPU")
    per_run, what = compute.devices_per_run, "GPUs" if on_gpus else "CPU cores"
    _require_several_if_sharded(compute)
    have = [worker.gpus if on_gpus else worker.cores for worker in workers]
    if per_run > max(have):
        largest = workers[have.index(max(have))]
        raise NoDevices(
            f"compute.devices_per_run is {per_run}, but no worker of {where} has so many {what}: "
            f"the largest, {largest.name}, has {max(have)}; lower it, or add a larger worker"
        )
    holds = [count // per_run for count in have]
    slots = min(compute.slots or runs, sum(holds), runs)

    def fit(cores: int) -> int:
        """How many of so many cores each run at once."""
        both = zip(workers, holds, strict=True)
        return sum(min(held, worker.cores // cores) for worker, held in both)

    cores = max(
        (n for n in range(1, max(w.cores for w in workers) + 1) if fit(n) >= slots), default=0
    )
    return Capacity(slots, "cuda" if on_gpus else "cpu", cores, max(1, cores // per_run))


def _require_several_if_sharded(compute: Compute) -> None:
    if compute.sharding == "full" and compute.devices_per_run == 1:
        raise NoDevices(
            "compute.sharding: full spreads a model over several devices; "
            "set compute.devices_per_run too"
        )


@contextmanager
def locked_gpus(compute: Compute) -> Iterator[Devices]:
    """Lock devices of this machine for one fine-tune, against all who use this function.

    Waits until enough devices are free. GPUs are free again when the process ends, however it ends.

    Raises:
        NoDevices: the machine has too few.
    """
    (devices, *_) = groups(compute, 1).groups
    if devices[0] == "cpu":
        yield devices
        return
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    count = torch.cuda.device_count()
    # A part of the machine may be visible, under other numbers.
    physical = visible if len(visible) == count and all(visible) else [*map(str, range(count))]
    folder = Path(tempfile.gettempdir()) / "modelsoup-gpus"
    folder.mkdir(exist_ok=True)
    with suppress(PermissionError):  # another user made the folder, and has set this
        folder.chmod(0o1777)  # sticky, as /tmp: nobody deletes the locks of another
    locks = [FileLock(folder / f"{gpu}.lock", mode=0o666) for gpu in physical]
    taken: list[int] = []
    while True:
        with FileLock(folder / "all.lock", mode=0o666):  # or two would each hold half
            free = [index for index, lock in enumerate(locks) if _taken(lock)]
            taken = free[: len(devices)]
            for index in set(free) - set(taken) if len(taken) == len(devices) else free:
                locks[index].release()
        if len(taken) == len(devices):
            break
        time.sleep(1)
    try:
        yield tuple(f"cuda:{index}" for index in taken)
    finally:
        for index in taken:
            locks[index].release()


def _taken(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True
