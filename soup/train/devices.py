"""Which devices a fine-tune gets, and how many run at once."""

import os
from dataclasses import dataclass

from soup.errors import BadInput
from soup.params import Compute

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
    cores = os.cpu_count() or 1
    if compute.device == "cuda" and gpus == 0:
        raise NoDevices("compute.device is cuda, but torch sees no GPU; set it to auto or cpu")
    each, have = compute.devices_per_run, gpus or cores
    what = "GPUs" if gpus else "CPU cores"
    if each > have:
        raise NoDevices(
            f"compute.devices_per_run is {each}, but this machine has {have} {what}; lower it, "
            "or start the ranks on several machines by torchrun -m soup.train.distributed"
        )
    if compute.sharding == "full" and each == 1:
        raise NoDevices(
            "compute.sharding: full spreads a model over several devices; "
            "set compute.devices_per_run too"
        )
    room = have // each
    names = [f"cuda:{index}" if gpus else "cpu" for index in range(room * each)]
    own = [tuple(names[index * each : (index + 1) * each]) for index in range(room)]
    count = min(compute.slots or room, runs)
    used, left = min(count, room) * each, []
    if gpus and each > 1:
        left = [f"cuda:{index}" for index in range(used, gpus)]
    note = (
        f"{count} fine-tunes at once on {each} GPUs each; {', '.join(left)} left idle"
        if left
        else ""
    )
    chosen = tuple(own[index % room] for index in range(count))
    return Groups(chosen, max(1, cores // (count * each)), note)
