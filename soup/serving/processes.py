"""One process a core, forked from one that has opened the model: all share its weights.

The processes accept connections from one socket. The first process starts those again that ended by
themselves, and ends them all on SIGTERM or SIGINT, when they have answered what they hold.
"""

import errno
import gc
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from soup.errors import BadInput, Failure

logger = logging.getLogger("soup.serving")
CGROUP = Path("/sys/fs/cgroup")
GRACE = 30  # seconds in which a process answers what it holds
CONNECTIONS = 1000  # open at once in one process; more get 503
TRIES = 5  # times in a row that a process may end within SHORT seconds of its start
SHORT = 10.0
LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")
EVERYWHERE = ("0.0.0.0", "::", "")


def cores() -> int:
    """The cores that this process was given: by its affinity, and by the quota of its cgroup."""
    try:
        available = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        available = os.cpu_count() or 1
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            texts = [(CGROUP / file).read_text() for file in files]
            quota, period = map(int, " ".join(texts).split())
        except (OSError, ValueError):  # 'max', or another version of cgroups
            continue
        if quota > 0:
            available = min(available, max(1, quota // period))
    return available


def hosts_of(host: str, allowed: Sequence[str]) -> list[str]:
    """The names by which clients may call a server that listens at `host`.

    Raises:
        BadInput: it listens at all addresses, and no name was given; or a name is none.
    """
    if host in EVERYWHERE and not allowed:
        raise BadInput(
            f"--host {host} listens at all addresses of this machine: say with --allow by which "
            "names clients call it, such as --allow models.example.org; requests under other names "
            "are refused"
        )
    for name in allowed:
        if not name or "/" in name or "*" in name[1:] or (name[0] == "*" and name[1:2] != "."):
            raise BadInput(f"--allow {name}: give a host name, or *.example.org, without a port")
    own = [] if host in EVERYWHERE else [host, f"[{host}]"] if ":" in host else [host]
    return [*LOOPBACK, *own, *allowed]


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        BadInput: the address cannot be used, or another program uses the port.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(CONNECTIONS)
    except (OSError, UnicodeError) as error:
        remedy = "another program uses it; give another --port" if _in_use(error) else str(error)
        raise BadInput(f"cannot listen at {host} port {port}: {remedy}") from None
    return listening


def _in_use(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno == errno.EADDRINUSE


class Processes:
    """Forks processes that serve, and looks after them.

    Args:
        run: called in each process with the socket, a function to call when it is ready, and the
            end of a pipe that can be read when the first process is gone; it returns when it is to
            end.
        listening: the socket.
        count: of processes.
    """

    def __init__(
        self,
        run: Callable[[socket.socket, Callable[[], None], int], None],
        listening: socket.socket,
        count: int,
    ) -> None:
        self._run, self._listening, self._count = run, listening, count
        self._started: dict[int, float] = {}  # process id -> when
        self._ending = False
        self._gone, self._alive = os.pipe()  # closed at our end, whatever becomes of us
        self._ready, self._tell = os.pipe()

    def serve(self, ready: Callable[[], None]) -> None:
        """Serve until SIGTERM or SIGINT.

        Args:
            ready: called when all processes are.

        Raises:
            Failure: the processes end by themselves as soon as they are started.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        gc.collect()
        gc.freeze()  # else the first collection of each process would copy what all share
        for _ in range(self._count):
            self._fork()
        self._await_ready(ready)
        failures = 0
        while self._started:
            try:
                process, status = os.wait()
            except ChildProcessError:
                break
            began = self._started.pop(process, 0.0)
            if self._ending:
                continue
            failures = failures + 1 if time.monotonic() - began < SHORT else 1
            code = os.waitstatus_to_exitcode(status)
            logger.error("process %d ended with %d, another is started", process, code)
            if failures >= TRIES:
                self._end()
                raise Failure(f"the processes end as soon as they are started, with {code}")
            time.sleep(0.5)
            if not self._ending:
                self._fork()

    def _await_ready(self, ready: Callable[[], None]) -> None:
        """Wait for a byte from each process; those that ended are looked at later."""
        count = 0
        while count < self._count and not self._ending:
            if select.select([self._ready], [], [], 0.2)[0]:
                count += len(os.read(self._ready, 100))
            elif any(map(_has_ended, self._started)):
                return
        if not self._ending:
            ready()

    def _fork(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        process = os.fork()
        if process == 0:
            self._child()
        self._started[process] = time.monotonic()
        if self._ending:  # a signal came meanwhile
            _kill(process, signal.SIGTERM)

    def _child(self) -> NoReturn:
        code = 1
        try:
            os.close(self._alive)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            self._run(self._listening, self._is_ready, self._gone)
            code = 0
        except BaseException:
            logger.exception("a process failed")
        finally:
            os._exit(code)

    def _is_ready(self) -> None:
        os.write(self._tell, b".")

    def _end(self, *_: object) -> None:
        if self._ending:
            return
        self._ending = True
        for process in self._started:
            _kill(process, signal.SIGTERM)
        signal.signal(signal.SIGALRM, self._kill_all)
        signal.alarm(GRACE + 5)

    def _kill_all(self, *_: object) -> None:
        for process in self._started:
            _kill(process, signal.SIGKILL)


def _has_ended(process: int) -> bool:
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill(process: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, number)
