"""Fine-tunes as processes of this machine."""

from collections.abc import Sequence
from queue import Queue
from typing import Any

from flows.runners.runner import Runner
from soup.imported import ImportedPool
from soup.sweep import Sweep, Watcher
from soup.train.devices import Devices


def here(sweep: Sweep | ImportedPool, devices: Sequence[Devices], watcher: Watcher) -> Runner:
    """One fine-tune at a time on each group of devices."""
    free: Queue[Devices] = Queue()
    for group in devices:
        free.put(group)

    def call(name: str, until: float) -> Any:
        group = free.get()
        try:
            if until < 1 and isinstance(sweep, Sweep):
                return sweep.to_rung(name, group, watcher, until)
            return sweep.run(name, group, watcher)
        finally:
            free.put(group)

    return Runner(len(devices), call)
