"""SIGTERM and Ctrl-C end a run within ten seconds, whatever it is doing.

Python runs the handler of a signal in the main thread, which may be in a long computation, or wait
for threads that wait for fine-tunes. So another thread listens for signals: it tells the fine-tunes
to stop at once, and ends the process after eight seconds if it has not ended by then.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

GRACE = 8.0  # seconds from the signal to the end, however far it is
SIGNALS = (signal.SIGTERM, signal.SIGINT)
_outermost = threading.Lock()  # held by the outermost block


@contextmanager
def stoppable(say: Callable[[str], None], last: bool = False) -> Iterator[None]:
    """Within, stop the fine-tunes at once when a signal to stop comes.

    Args:
        say: is told that the signal came.
        last: whether the process ends with the block; its end then has to keep to the time too.
    """
    if threading.current_thread() is not threading.main_thread() or not _outermost.acquire(False):
        yield
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    left = threading.Event()
    threading.Thread(target=_listen, args=(reader, left, say), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        writer.close()
        if not last:  # the caller lives on: in a notebook, say
            left.set()
            _tell_fine_tunes(stop=False)
        _outermost.release()


def _listen(reader: socket.socket, left: threading.Event, say: Callable[[str], None]) -> None:
    while received := reader.recv(1):
        if (number := received[0]) in SIGNALS:
            _tell_fine_tunes(stop=True)
            say(f"{signal.Signals(number).name}: stopping; started again it goes on where it was")
            if not left.wait(GRACE):
                os._exit(128 + number)
            return


def _tell_fine_tunes(stop: bool) -> None:
    # Where the module was not imported, there are no fine-tunes.
    worker_process: Any = sys.modules.get("soup.train.worker_process")
    if worker_process is not None:
        worker_process.stop(stop)
