"""Each fine-tune in a process of its own, or one a device, forked from a warm one.

The fork server imports torch and timm once; a fine-tune then starts in milliseconds, its memory is
freed for certain when it ends, and one that crashes takes nothing with it. Its children never touch
a GPU before they are forked, so CUDA may be used in each.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

from soup.errors import DiskFull, Failure, full_disk
from soup.train.finetune import Job, Results, finetune
from soup.train.loop import Log
from soup.train.run_state import Stopped

IMPORTED = ["soup.train.finetune", "timm", "soup.models.timm_models"]  # once, for all fine-tunes
PATIENCE = 5.0  # seconds that a fine-tune has to keep its state when all are to stop
_asked = threading.Event()
_starting = threading.Lock()


def stop(asked: bool = True) -> None:
    """Let every fine-tune under way, and each that would be started, keep its state and end.

    Args:
        asked: False takes it back, for those that are started from now on.
    """
    if asked:
        _asked.set()
    else:
        _asked.clear()


@lru_cache(maxsize=1)
def _fork_server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context


def start_fork_server() -> None:
    """Start the process that fine-tunes are forked from; it imports for seconds, beside us."""
    _fork_server()
    forkserver.ensure_running()


class Failed(RuntimeError):
    """A fine-tune that did not finish; the message is the reason, in a line."""


class Crashed(Failed):
    """Its process ended without a word (killed, out of memory): trying again may help."""


def run(job: Job, log: Log, say: Callable[[str], None] = lambda _: None) -> Results | float:
    """Fine-tune in new processes, one a device; what is logged and said arrives here, in the
    calling thread.

    The processes end with their parent, however that ends, and with each other.

    Raises:
        Failed: it diverged or raised.
        Crashed: a process was killed.
        Stopped: all were to stop.
    """
    if _asked.is_set():
        raise Stopped("stopped before it began")
    served, port = _meeting_place(job)
    started = [_start(job, rank, port) for rank in range(len(job.devices))]
    whole = False
    try:
        results = _outcome(started, log, say)
        whole = True
        return results
    finally:
        del served
        for pipe, process in started:
            pipe.close()
            if not whole and (len(started) > 1 or _asked.is_set()):
                process.kill()  # it waits for another, perhaps for an hour
        for _, process in started:
            process.join(timeout=10)
            if process.is_alive():
                process.kill()


def _outcome(started: list["Started"], log: Log, say: Callable[[str], None]) -> Results | float:
    """What the first rank ends with; log and say what it tells on the way."""
    waited = [pipe for pipe, _ in started]
    told: float | None = None
    while True:
        told = _pass_on(started, told)
        for pipe in wait(waited, timeout=0.2):
            assert isinstance(pipe, Connection)
            rank = [own for own, _ in started].index(pipe)
            try:
                kind, *rest = pipe.recv()
            except EOFError:
                end = Crashed if told is None else Stopped
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
                    raise Stopped(rest[0]) if told is not None else Crashed(rest[0])
                case "full":
                    raise DiskFull(rest[0])
                case "failed":
                    # Those that a killed rank left alone fail as well, and may be heard first.
                    others = [other for other in waited if other != pipe]
                    killed = [n for n, (p, _) in enumerate(started) if p in others and _silent(p)]
                    raise Crashed(_death(started, killed[0])) if killed else Failed(rest[0])


def _pass_on(started: list["Started"], told: float | None) -> float | None:
    """Ask the processes to stop if all are to; when that was.

    Raises:
        Stopped: their time is up.
    """
    if told is None and _asked.is_set():
        for _, process in started:
            process.terminate()
        return time.monotonic()
    if told is not None and time.monotonic() - told > PATIENCE:
        raise Stopped(f"stopped, for a step of it takes longer than {PATIENCE:.0f} s")
    return told


Started = tuple[Connection, BaseProcess]


def _meeting_place(job: Job) -> tuple[Any, int]:
    """A store that ranks meet at and its port, as torchrun's agent offers it; none for one rank."""
    if len(job.devices) == 1:
        return None, 0
    import torch.distributed as dist

    from soup.train.distributed import write

    write(job, job.folder / "job.json")
    # At a port that the system chooses, for two fine-tunes to share a machine.
    store = dist.TCPStore(  # type: ignore[attr-defined]
        "127.0.0.1", 0, None, is_master=True, wait_for_workers=False
    )
    return store, store.port


def _start(job: Job, rank: int, port: int) -> Started:
    ours, theirs = _fork_server().Pipe(duplex=False)
    place = {
        "RANK": f"{rank}",
        "LOCAL_RANK": f"{rank}",
        "WORLD_SIZE": f"{len(job.devices)}",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": f"{port}",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    process = _fork_server().Process(
        target=_main, args=(job, theirs, place), name=f"rank {rank}", daemon=True
    )
    with _without_program():
        process.start()
    theirs.close()
    return ours, process


@contextmanager
def _without_program() -> Iterator[None]:
    """A child imports the program that starts it; ours are flows, whose imports take seconds."""
    with _starting:
        program = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = program


def _silent(pipe: Connection) -> bool:
    """Whether a rank ended without a word."""
    try:
        # It needs a moment to notice that another is gone, and to say so.
        while pipe.poll(3) and pipe.recv()[0] not in ("failed", "done"):
            pass
    except EOFError:
        return True
    return False


def _death(started: list[Started], rank: int) -> str:
    process = started[rank][1]
    process.join()
    which = f"the process of rank {rank}" if len(started) > 1 else "its process"
    if process.exitcode == -9:
        return f"{which} was killed (signal 9): out of memory, or by hand"
    return f"{which} ended with exit code {process.exitcode}"


def _main(job: Job, pipe: Connection, place: Mapping[str, str]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C: the parent decides
    # A daemon may have no children, but a data loader's workers are some; it ends all the same.
    multiprocessing.current_process().daemon = False

    def log(step: int, metrics: dict[str, float]) -> None:
        pipe.send(("log", step, metrics))

    def say(text: str) -> None:
        pipe.send(("say", text))

    try:
        if len(job.devices) == 1:
            results = finetune(job, log, say, stop=stopping.is_set)
        else:
            from soup.train.process_group import joined

            os.environ.update(place)
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


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
