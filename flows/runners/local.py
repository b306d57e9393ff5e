"""Fine-tunes as processes of this machine."""

from collections.abc import Sequence
from contextlib import ExitStack
from queue import Queue
from typing import Any

from flows.runners.runner import Runner
from soup.config.params import Params
from soup.pipeline.sweep.devices import Devices
from soup.pipeline.sweep.sweep import Sweep
from soup.pipeline.sweep.watcher import Watcher


def warm(params: Params) -> None:
    """Start the process that fine-tunes are forked from; its imports take seconds."""
    if params.compute.runner.kind == "local" and params.sweep.imported is None:
        from soup.train.fork_server import start_fork_server

        start_fork_server(params.base.library)


def local_runner(
    sweep: Sweep, devices: Sequence[Devices], limited: bool, watcher: Watcher
) -> Runner:
    """A runner of one fine-tune at a time on each group of devices.

    A fine-tune gives its devices back before its model is stored, so that the next one trains
    meanwhile.

    Args:
        sweep: whose fine-tunes it runs.
        devices: the groups.
        limited: whether slots are shared with other sweeps; then no fine-tune may hold a slot while
            it waits for devices.
        watcher: is told how the fine-tunes go on.
    """
    free: Queue[Devices] = Queue()
    for group in devices:
        free.put(group)

    def call(name: str, until: float) -> Any:
        with ExitStack() as borrowed:

            def borrow() -> Devices:
                group = free.get()
                borrowed.callback(free.put, group)
                return group

            if until < 1:
                return sweep.train_until(name, borrow, watcher, until)
            return sweep.run(name, borrow, watcher, borrowed.close)

    return Runner(len(devices) * (1 if limited else 2), call)
