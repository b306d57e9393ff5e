"""A Prefect server for one run, where no other is configured.

The temporary server that Prefect itself starts lives on when its parent is killed, and gets the
Ctrl-C of a terminal before the flow can tell it how the run ended. This one ends with its parent,
however that ends, and wants a password that is made for the run and kept nowhere.
"""

import atexit
import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flows import as_command
from flows.project import root, say
from soup.errors import Failure
from soup.older_databases import PREFECT, bring_up_to_date

used = False  # whether this process has started one
FLUSH = 5.0  # seconds that the server has, at its end, to store what it was sent last


class NoServer(Failure, RuntimeError):
    """The temporary server does not answer; the message says what to do."""


@contextmanager
def temporary_server(meanwhile: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Start a server for the flows within, unless Prefect's settings name one.

    Args:
        meanwhile: called while the server starts, which takes seconds.

    Raises:
        NoServer: the server ended, or did not answer in time.
        OtherSchema: its database is of a newer Prefect.
    """
    from prefect.settings import (
        PREFECT_API_AUTH_STRING,
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
        get_current_settings,
        temporary_settings,
    )

    if PREFECT_API_URL.value():
        meanwhile()
        yield
        return
    global used  # noqa: PLW0603 - what the summary says at the end of a run
    used = True
    # Prefect's own names for a server without the services that one run does not need.
    small = {
        "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_EPHEMERAL": "1",
        # To look for types of blocks, which are Prefect's stored settings, imports all its plugins.
        "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "0",
        "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "0",
    }
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    home = {"PREFECT_HOME": str(root() / ".prefect")}  # where `make ui` shows the runs later
    database = Path((home | os.environ | settings)["PREFECT_HOME"]) / "prefect.db"
    if done := bring_up_to_date(database, PREFECT):
        say(done)
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    here = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PREFECT__SERVER_FINAL": "1"}
    password = f"modelsoup:{secrets.token_urlsafe(24)}"
    with socket.socket() as listening:  # handed down, so that no one else takes the port meanwhile
        listening.bind(("127.0.0.1", 0))
        port = int(listening.getsockname()[1])
        # By the environment, for a command line can be read by everybody.
        guard = {
            "PREFECT_SERVER_API_AUTH_STRING": password,
            "PREFECT_SERVER_API_PORT": str(port),
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "",  # its own
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.server.temporary", str(listening.fileno())],
            stdin=subprocess.PIPE,
            env={**home, **os.environ, **settings, **small, **here, **guard},
            pass_fds=[listening.fileno()],
            start_new_session=True,
        )
    # Not at the end of the block: until the threads end, Prefect sends it what happened.
    atexit.register(_end, process)
    meanwhile()
    _wait(process, port, PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value())
    # Nobody there listens for heartbeats, and each flow would wait a second for its heart to stop.
    no_heartbeat = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    url = f"http://127.0.0.1:{port}/api"
    reach = {PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: password}
    with temporary_settings({**reach, **no_heartbeat}):
        yield


def _end(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None
    process.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(FLUSH + 1)


def _wait(process: "subprocess.Popen[bytes]", port: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise NoServer(
                f"Prefect's temporary server ended with exit code {process.returncode}; "
                "its reason is above"
            )
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/api/health")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        connection.close()
        time.sleep(0.1)
    raise NoServer(
        f"Prefect's temporary server did not answer within {seconds:.0f} s; "
        "set PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, or start one and set PREFECT_API_URL"
    )


def _serve(descriptor: int) -> None:
    """Serve Prefect's API on the bound socket that has this file descriptor."""
    import uvicorn

    threading.Thread(target=_end_with_parent, daemon=True).start()
    config = uvicorn.Config("flows.server.asgi:app", log_level="error", lifespan="on")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


def _end_with_parent() -> None:
    sys.stdin.buffer.read()  # returns when nobody holds the other end of the pipe
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(FLUSH)
    os._exit(0)


if __name__ == "__main__":
    with as_command():
        _serve(int(sys.argv[1]))
