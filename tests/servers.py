"""Real servers to test with: at a port of their own, killed and started again where they were."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LEASES = "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"
FILES = "prefect.server.concurrency.lease_storage.filesystem"
PATIENCE = 300.0  # seconds that one may take to start on a busy machine


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A server that keeps what it knows in a folder."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def health(self) -> str:
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def settings(self) -> dict[str, str]:
        raise NotImplementedError

    def start(self) -> None:
        """Begin to start; `ready` waits until it has."""
        self.folder.mkdir(parents=True, exist_ok=True)
        held = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self.command()],
                env=held | self.settings() | self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), urllib.request.urlopen(self.health, timeout=5):
                return
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / "server.log").read_text()[-3000:]
            time.sleep(0.2)
        raise AssertionError(f"no server at {self.health}")

    def kill(self) -> None:
        """As if the power went."""
        if self._process is not None:
            kill(self._process)
            self._process = None


class PrefectServer(Server):
    """On SQLite, with leases on disk."""

    @property
    def api(self) -> str:
        return f"{self.address}/api"

    @property
    def health(self) -> str:
        return f"{self.api}/health"

    def command(self) -> list[str]:
        return ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]

    def settings(self) -> dict[str, str]:
        return {
            "PREFECT_HOME": str(self.folder),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_ENABLED": "false",
            LEASES: FILES,
        }


class MlflowServer(Server):
    """On SQLite; it keeps artifacts itself."""

    @property
    def health(self) -> str:
        return f"{self.address}/health"

    def command(self) -> list[str]:
        return [
            *("mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder}/served.db"),
            *("--artifacts-destination", str(self.folder / "served")),
        ]

    def settings(self) -> dict[str, str]:
        return {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


@contextlib.contextmanager
def running(server: Server) -> Iterator[None]:
    """Start a server, and end it at the end."""
    server.start()
    try:
        server.ready()
        yield
    finally:
        server.kill()


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a group, and the group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
