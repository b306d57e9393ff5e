"""Each fine-tune in a process of its own, forked from a warm one.

The fork server imports torch and timm once; a fine-tune then starts in milliseconds, its memory is
freed for certain when it ends, and one that crashes takes nothing with it. Its children never touch
a GPU before they are forked, so CUDA may be used in each.
"""

import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection

from soup.train.finetune import Job, Results, finetune
from soup.train.loop import Diverged, Log

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["soup.train.finetune", "timm", "soup.models.vision"])


class Failed(RuntimeError):
    """A fine-tune that did not finish; the message is the reason, in a line."""


class Crashed(Failed):
    """Its process ended without a word (killed, out of memory): trying again may help."""


def run(job: Job, log: Log, say: Callable[[str], None] = lambda _: None) -> Results | float:
    """Fine-tune in a new process; what it logs and says arrives here, in the calling thread.

    The process ends with its parent, however that ends.

    Raises:
        Failed: it diverged or raised.
        Crashed: its process was killed.
    """
    ours, theirs = _context.Pipe(duplex=False)
    process = _context.Process(target=_main, args=(job, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        while True:
            try:
                kind, *rest = ours.recv()
            except EOFError:
                process.join()
                raise Crashed(_death(process.exitcode)) from None
            match kind:
                case "log":
                    log(*rest)
                case "say":
                    say(*rest)
                case "done":
                    results: Results | float = rest[0]
                    return results
                case "failed":
                    raise Failed(rest[0])
    finally:
        ours.close()
        process.join(timeout=10)
        if process.is_alive():
            process.kill()


def _death(code: int | None) -> str:
    if code == -9:
        return "its process was killed (signal 9): out of memory, or by hand"
    return f"its process ended with exit code {code}"


def _main(job: Job, pipe: Connection) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # A daemon may have no children, but a data loader's workers are some; it ends all the same.
    multiprocessing.current_process().daemon = False
    try:
        results = finetune(
            job,
            lambda step, metrics: pipe.send(("log", step, metrics)),
            lambda text: pipe.send(("say", text)),
        )
        pipe.send(("done", results))
    except Diverged as error:
        pipe.send(("failed", str(error)))
    except BaseException as error:
        traceback.print_exc()
        pipe.send(("failed", f"{type(error).__name__}: {error}"))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
