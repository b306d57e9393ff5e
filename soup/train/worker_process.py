"""Run each fine-tune in processes of its own, one for each device, forked from a fork server.

The fork server has torch and timm imported, so that a fine-tune starts in milliseconds. They are
spent while it waits for its devices. The memory of a fine-tune is freed when its processes end, and
a crash does not affect other fine-tunes.
"""

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch.distributed as dist

from soup.errors import DiskFull, Failure, full_disk
from soup.train.distributed import write
from soup.train.finetune import Job, Results, finetune
from soup.train.fork_server import fork_server, start_process
from soup.train.loop import Log
from soup.train.process_group import joined
from soup.train.run_state import Stopped

PATIENCE = 5.0  # seconds that a fine-tune has to keep its state when all are to stop
_asked = threading.Event()


def stop(asked: bool = True) -> None:
    """Stop all running fine-tunes, which save their state, and start no new ones.

    Args:
        asked: False allows fine-tunes to start again.
    """
    if asked:
        _asked.set()
    else:
        _asked.clear()


class Failed(RuntimeError):
    """A fine-tune did not finish; the message is the reason, in one line."""


class Crashed(Failed):
    """A process ended without a message (killed, out of memory); another attempt may succeed."""


def run(
    job: Job,
    log: Log,
    say: Callable[[str], None] = lambda _: None,
    begun: Callable[[], object] = lambda: None,
    freed: Callable[[], object] = lambda: None,
    lend: Callable[[], tuple[str, ...]] | None = None,
) -> Results | float:
    """Fine-tune in new processes, one for each device.

    All that is given is called in the calling thread. The processes end when this process
    ends, however it ends, and when one of them fails.

    Args:
        begun: called once the processes work, which they do while it does.
        freed: called once the results are there and the devices are free for another fine-tune. A
            CPU is free at once; the memory of a GPU, when the processes have ended.
        lend: waits for devices, as many as the job names; they take the place of these. The
            processes are started meanwhile; one that is killed before it has devices is replaced.

    Raises:
        Failed: the fine-tune diverged or raised an error.
        Crashed: a process was killed.
        DiskFull: the disk is full.
        Stopped: `stop` was called.
    """
    _require_not_stopped()
    started = [_start(rank) for rank in range(len(job.devices))]
    rendezvous = None
    finished = working = False
    try:
        if lend is not None:
            job = replace(job, devices=lend())
            _require_not_stopped()
            _replace_dead(started)
        rendezvous, port = _rendezvous_store(job)
        for rank, (pipe, _) in enumerate(started):
            with suppress(OSError):  # it was killed just now, which `_outcome` notices
                pipe.send((job, _environment(rank, len(started), port)))
        begun()
        working = True
        results = _outcome(started, log, say)
        finished = True
        if set(job.devices) != {"cpu"}:
            _end(started)
        freed()
        return results
    finally:
        del rendezvous
        if not finished and (len(started) > 1 or _asked.is_set() or not working):
            for _, process in started:
                process.kill()  # it may wait an hour for another rank
        _end(started)


def _require_not_stopped() -> None:
    if _asked.is_set():
        raise Stopped("stopped before it began")


def _replace_dead(started: list["Started"]) -> None:
    """Start those again that were killed before they had anything to do."""
    for rank, (pipe, process) in enumerate(started):
        if not process.is_alive():
            pipe.close()
            started[rank] = _start(rank)


def _end(started: list["Started"]) -> None:
    """Wait for the end of processes that have nothing more to say."""
    for pipe, _ in started:
        pipe.close()
    for _, process in started:
        process.join(timeout=10)
        if process.is_alive():
            process.kill()


def _outcome(started: list["Started"], log: Log, say: Callable[[str], None]) -> Results | float:
    """The results of rank 0; calls log and say with what it sends before."""
    waited = [pipe for pipe, _ in started]
    stop_sent: float | None = None
    while True:
        stop_sent = _pass_on(started, stop_sent)
        for pipe in wait(waited, timeout=0.2):
            assert isinstance(pipe, Connection)
            rank = [connection for connection, _ in started].index(pipe)
            try:
                kind, *rest = pipe.recv()
            except GONE:
                end = Crashed if stop_sent is None else Stopped
                raise end(_death(started, rank)) from None
            match kind:
                case "log":
                    log(*rest)
                case "say":
                    say(*rest)
                case "done" if rank == 0:
                    results: Results | float = rest[0]
                    return results
                case "done":
                    waited.remove(pipe)
                case "stopped":
                    raise Stopped(rest[0]) if stop_sent is not None else Crashed(rest[0])
                case "full":
                    raise DiskFull(rest[0])
                case "failed":
                    # When a rank is killed, the others fail too, and may report that first.
                    others = [other for other in waited if other != pipe]
                    killed = [n for n, (p, _) in enumerate(started) if p in others and _silent(p)]
                    raise Crashed(_death(started, killed[0])) if killed else Failed(rest[0])


def _pass_on(started: list["Started"], stop_sent: float | None) -> float | None:
    """Pass a stop on to the processes; returns when they were told, None if they were not.

    Raises:
        Stopped: the processes did not end within PATIENCE.
    """
    if stop_sent is None and _asked.is_set():
        for _, process in started:
            process.terminate()
        return time.monotonic()
    if stop_sent is not None and time.monotonic() - stop_sent > PATIENCE:
        raise Stopped(f"stopped, for a step of it takes longer than {PATIENCE:.0f} s")
    return stop_sent


Started = tuple[Connection, BaseProcess]
GONE = (EOFError, ConnectionResetError)  # the second if it was killed before it read its job


def _rendezvous_store(job: Job) -> tuple[Any, int]:
    """Open the store at which ranks meet, as torchrun does; the store and its port."""
    if len(job.devices) == 1:
        return None, 0
    write(job, job.folder / "job.json")
    # The system chooses the port, so that several fine-tunes can run on one machine.
    store = dist.TCPStore(  # type: ignore[attr-defined]
        "127.0.0.1", 0, None, is_master=True, wait_for_workers=False
    )
    return store, store.port


def _start(rank: int) -> Started:
    """Start a process that waits for its job."""
    ours, theirs = fork_server().Pipe()
    process = start_process(_main, theirs, name=f"rank {rank}")
    theirs.close()
    return ours, process


def _environment(rank: int, world: int, port: int) -> dict[str, str]:
    """What tells a rank where it meets the others, as torchrun does."""
    return {
        "RANK": f"{rank}",
        "LOCAL_RANK": f"{rank}",
        "WORLD_SIZE": f"{world}",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": f"{port}",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }


def _silent(pipe: Connection) -> bool:
    """Whether a rank ended without a message."""
    try:
        # A rank needs a moment to notice that another is gone, and to report it.
        while pipe.poll(3) and pipe.recv()[0] not in ("failed", "done"):
            pass
    except GONE:
        return True
    return False


def _death(started: list[Started], rank: int) -> str:
    process = started[rank][1]
    process.join()
    which = f"the process of rank {rank}" if len(started) > 1 else "its process"
    if process.exitcode == -9:
        return f"{which} was killed (signal 9): out of memory, or by hand"
    return f"{which} ended with exit code {process.exitcode}"


def _main(pipe: Connection) -> None:
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    # A daemon may have no children, but a data loader's workers are children. This process ends
    # with its parent all the same.
    multiprocessing.current_process().daemon = False
    try:
        job, environment = pipe.recv()
    except GONE:  # it is not needed any more
        return

    def log(step: int, metrics: dict[str, float]) -> None:
        pipe.send(("log", step, metrics))

    def say(text: str) -> None:
        pipe.send(("say", text))

    try:
        if len(job.devices) == 1:
            results = finetune(job, log, say, stop=stopping.is_set)
        else:
            os.environ.update(environment)
            with joined(job.devices) as ranks:
                results = finetune(job, log, say, ranks, stopping.is_set)
        pipe.send(("done", results))
    except Stopped as error:
        pipe.send(("stopped", str(error)))
    except Failure as error:
        pipe.send(("failed", str(error)))
    except BaseException as error:
        if full := full_disk(error):
            pipe.send(("full", str(full)))
            return
        traceback.print_exc()
        pipe.send(("failed", f"{type(error).__name__}: {error}"))
