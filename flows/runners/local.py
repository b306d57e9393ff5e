"""Fine-tunes as processes of this machine."""

from collections.abc import Sequence
from contextlib import ExitStack
from queue import Queue
from typing import Any

from flows.runners.runner import Runner
from soup.config.params import Params
from soup.pipeline.sweep.devices import Devices
from soup.pipeline.sweep.sweep import Sweep, Watcher


def warm(params: Params) -> None:
    """Start what fine-tunes are forked from, which first imports for seconds, beside other work."""
    if params.compute.runner.kind == "local" and params.sweep.imported is None:
        from soup.train.worker_process import start_fork_server

        start_fork_server()


def here(sweep: Sweep, devices: Sequence[Devices], limited: bool, watcher: Watcher) -> Runner:
    """One fine-tune at a time on each group of devices; the next begins while one is stored.

    Args:
        limited: slots are shared with other sweeps, which none is to hold while it waits.
    """
    free: Queue[Devices] = Queue()
    for group in devices:
        free.put(group)

    def call(name: str, until: float) -> Any:
        with ExitStack() as held:
            group = free.get()
            held.callback(free.put, group)
            if until < 1:
                return sweep.train_until(name, group, watcher, until)
            return sweep.run(name, group, watcher, held.close)

    return Runner(len(devices) * (1 if limited else 2), call)
