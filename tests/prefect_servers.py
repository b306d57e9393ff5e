"""A process that has imported Prefect's server, and forks one whenever it is told to.

    python -m tests.prefect_servers

Each is a process of its own, that can be killed as any other; it is spared five seconds of imports.
It reads lines of JSON, {"port": port, "log": path, "environment": {...}}, and answers each with the
process id.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path


class Forked:
    """The process of a server, with what is used of `subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def poll(self) -> int | None:
        """None as long as it runs."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, 0)
            return None
        return 1

    def wait(self) -> None:
        while self.poll() is None:
            time.sleep(0.01)


def fork(port: int, log: Path, environment: dict[str, str]) -> Forked:
    """Start a server; it leads a group of processes."""
    told = {"port": port, "log": str(log), "environment": environment}
    parent = _parent()
    assert parent.stdin is not None
    assert parent.stdout is not None
    print(json.dumps(told), file=parent.stdin, flush=True)
    return Forked(int(parent.stdout.readline()))


@cache
def _parent() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", __name__],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def main() -> None:
    import prefect.server.api.server  # noqa: F401
    import uvicorn  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # servers that end leave nothing behind
    for line in sys.stdin:
        server = os.fork()
        if not server:
            _serve(**json.loads(line))
        os.setpgid(server, server)
        print(server, flush=True)


def _serve(port: int, log: str, environment: dict[str, str]) -> None:
    """As `prefect server start` does."""
    import uvicorn
    from prefect.context import refresh_global_settings_context
    from prefect.server.api.server import create_app

    threading.Thread(target=_end_after, args=[os.getppid()], daemon=True).start()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream, file in enumerate((os.open(os.devnull, os.O_RDONLY), written, written)):
        os.dup2(file, stream)
    os.environ.clear()
    os.environ.update(environment)
    refresh_global_settings_context()
    try:
        uvicorn.run(create_app(final=True), host="127.0.0.1", port=port, log_level="warning")
    finally:
        os._exit(1)


def _end_after(parent: int) -> None:
    """With the tests, however those end."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    main()
