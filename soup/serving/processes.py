"""One process a core, forked by gunicorn from one that has opened the model and shares its weights.

The processes accept connections from one socket, each with a server of uvicorn. gunicorn starts
those again that ended by themselves or hang, and ends them all on SIGTERM or SIGINT, when they have
answered what they hold. They end by themselves when it is gone.
"""

import asyncio
import errno
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import uvicorn
from gunicorn.app.base import BaseApplication
from gunicorn.workers.base import Worker

from soup.errors import BadInput, Failure

CGROUP = Path("/sys/fs/cgroup")
GRACE = 30  # seconds in which a process answers what it holds
CONNECTIONS = 1000  # open at once in one process; more get 503
HANGS = 60  # seconds without a sign of life after which a process is killed and replaced
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


class _Uvicorn(Worker):
    """A process of gunicorn that serves by uvicorn."""

    def init_signals(self) -> None:
        """Take signals that come before uvicorn does; gunicorn sends SIGQUIT after SIGINT."""
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, self.handle_exit)

    def handle_exit(self, *_: object) -> None:
        self.alive = False

    def run(self) -> None:
        """Serve until a signal, or until the first process is gone."""
        asyncio.run(self._serve())
        sys.stderr.flush()
        os._exit(0)  # what is shared with the first process is not taken apart in each

    async def _serve(self) -> None:
        config = uvicorn.Config(
            self.wsgi,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            ws="none",
            proxy_headers=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=GRACE,
            # asyncio accepts as many connections at once as may queue: one process would take all.
            backlog=1,
        )
        server = uvicorn.Server(config)
        listening = [listener.sock for listener in self.sockets]
        serving = asyncio.ensure_future(server.serve(listening))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        for each in listening if server.started else ():
            each.listen(CONNECTIONS)  # the queue of the kernel, which `backlog` made short
        while not serving.done():
            self.notify()
            if not self.alive or self.ppid != os.getppid():
                server.should_exit = True
            await asyncio.wait([serving], timeout=0.5)
        await serving


class _Gunicorn(BaseApplication):
    """An application that is there already, with settings that no file and no variable changes."""

    def __init__(self, application: object, settings: dict[str, Any]) -> None:
        self._settings = settings
        super().__init__()
        self.callable = application

    def load_config(self) -> None:
        for name, value in self._settings.items():
            self.cfg.set(name, value)


def serve(
    application: object, listening: socket.socket, count: int, ready: Callable[[], None]
) -> None:
    """Serve an ASGI application in several processes until SIGTERM or SIGINT.

    Args:
        listening: of `listen`.
        count: of processes.
        ready: called before they are forked; requests that come earlier than they wait.

    Raises:
        Failure: the processes cannot start; they have said why.
    """

    def when_ready(_server: object) -> None:
        ready()
        gc.collect()
        gc.freeze()  # else the first collection of each process would copy what all share

    settings = {
        "bind": f"fd://{listening.fileno()}",
        "workers": count,
        "worker_class": _Uvicorn,
        "preload_app": True,
        "timeout": HANGS,
        "graceful_timeout": GRACE + 5,
        "loglevel": "error",
        "control_socket_disable": True,
        "when_ready": when_ready,
    }
    try:
        _Gunicorn(application, settings).run()
    except SystemExit as end:
        if end.code:
            raise Failure(f"the server ended with {end.code}; the lines above say why") from None
    finally:
        gc.unfreeze()
