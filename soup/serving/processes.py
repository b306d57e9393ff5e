"""Serve with one process for each core, all sharing the memory of the model's weights.

A first process opens the model, and gunicorn forks the others from it. Each runs a uvicorn server;
all accept connections from one socket. gunicorn replaces a process that dies or hangs. On SIGTERM
or SIGINT, the processes answer their waiting requests and end. They also end if the first process
has died.
"""

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import uvicorn
from gunicorn.app.base import BaseApplication
from gunicorn.workers.base import Worker

from soup.errors import Failure
from soup.serving.addresses import CONNECTIONS

GRACE = 30  # seconds for a process to answer its waiting requests at the end
HANGS = 60  # seconds without a heartbeat after which a process is killed and replaced


class _Uvicorn(Worker):
    """A gunicorn worker process that runs a uvicorn server."""

    def init_signals(self) -> None:
        """Handle signals until uvicorn does; gunicorn sends SIGQUIT after SIGINT."""
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, self.handle_exit)

    def handle_exit(self, *_: object) -> None:
        self.alive = False

    def run(self) -> None:
        """Serve until a signal arrives or the first process has died."""
        asyncio.run(self._serve())
        sys.stderr.flush()
        os._exit(0)  # skip the clean-up of memory that is shared with the first process

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
            # asyncio accepts up to `backlog` connections at once: one process would take them all.
            backlog=1,
        )
        server = uvicorn.Server(config)
        listening = [listener.sock for listener in self.sockets]
        serving = asyncio.ensure_future(server.serve(listening))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        for each in listening if server.started else ():
            each.listen(CONNECTIONS)  # lengthen the kernel's queue, which `backlog` shortened
        while not serving.done():
            self.notify()
            if not self.alive or self.ppid != os.getppid():
                server.should_exit = True
            await asyncio.wait([serving], timeout=0.5)
        await serving


class _Gunicorn(BaseApplication):
    """gunicorn for a given application; no file or environment variable changes its settings."""

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
        listening: a socket of `addresses.listen`, which cannot be used afterwards.
        count: number of processes.
        ready: called before the processes are forked; requests that arrive before that wait.

    Raises:
        Failure: the processes cannot start; they have logged the reason.
    """

    def when_ready(_server: object) -> None:
        ready()
        gc.collect()
        gc.freeze()  # else the first collection in each process would copy the shared memory

    settings = {
        "bind": f"fd://{listening.detach()}",  # gunicorn copies the descriptor and closes it
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
