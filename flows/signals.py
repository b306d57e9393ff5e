"""SIGTERM and Ctrl-C end a run within ten seconds, whatever it is doing.

Python runs the handler of a signal in the main thread, which may be in a long computation, or wait
for threads that wait for fine-tunes. So a thread of its own hears of the signal, tells the
fine-tunes at once, and ends the process when its time is up.
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
_heard = threading.Lock()  # held by the outermost block


@contextmanager
def stoppable(say: Callable[[str], None], last: bool = False) -> Iterator[None]:
    """Within, a signal to stop is heard at once.

    Args:
        say: told that it was heard.
        last: nothing but the end of the process comes after the block; that is timed too.
    """
    if threading.current_thread() is not threading.main_thread() or not _heard.acquire(False):
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
        _heard.release()


def _listen(ears: socket.socket, left: threading.Event, say: Callable[[str], None]) -> None:
    while heard := ears.recv(1):
        if (number := heard[0]) in SIGNALS:
            _tell_fine_tunes(stop=True)
            say(f"{signal.Signals(number).name}: stopping; started again it goes on where it was")
            if not left.wait(GRACE):
                os._exit(128 + number)
            return


def _tell_fine_tunes(stop: bool) -> None:
    # Where torch was not imported there are none.
    process: Any = sys.modules.get("soup.train.worker_process")
    if process is not None:
        process.stop(stop)
