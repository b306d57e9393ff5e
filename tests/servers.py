"""Real servers to test with: at a port of their own, killed and started again where they were."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests import checkouts, homes, prefect_servers
from tests.prefect_servers import Forked

LEASES = "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"
FILES = "prefect.server.concurrency.lease_storage.filesystem"
# `mlflow server`, whose process would start another for uvicorn, which imports the same again.
MLFLOW = """
import os
import mlflow.cli, mlflow.server, uvicorn

def here(command, extra_env, **_):
    os.environ.update(extra_env)
    uvicorn.main(command[command.index("uvicorn") + 1 :])

mlflow.server._exec_cmd = here
mlflow.cli.cli()
"""
PATIENCE = 300.0  # seconds that one may take to start on a busy machine


def free_port() -> int:
    """Below those that the system gives to connections, or one would take it meanwhile."""
    while True:
        port = random.SystemRandom().randrange(12_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


@dataclass
class Server:
    """A server that keeps what it knows in a folder."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | Forked | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def health(self) -> str:
        raise NotImplementedError

    def command(self) -> list[str]:
        """What Python is called with."""
        raise NotImplementedError

    def settings(self) -> dict[str, str]:
        raise NotImplementedError

    def start(self) -> None:
        """Begin to start; `ready` waits until it has."""
        self.folder.mkdir(parents=True, exist_ok=True)
        held = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self.command()],
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

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        held = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"}
        environment = held | self.settings() | self.environment
        self._process = prefect_servers.fork(self.port, self.folder / "server.log", environment)

    def settings(self) -> dict[str, str]:
        return {
            "PREFECT_HOME": str(homes.furnish(self.folder)),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_ENABLED": "false",
            # No test with it needs a block; to look for their types imports all plugins.
            "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
            "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
            LEASES: FILES,
        }


@dataclass
class MlflowServer(Server):
    """It keeps runs and artifacts in its folder, unless told of another place."""

    database: str = ""
    artifacts: str = ""
    workers: int = 1

    @property
    def health(self) -> str:
        return f"{self.address}/health"

    def command(self) -> list[str]:
        database = self.database or homes.tracking(self.folder)
        return [
            *("-c", MLFLOW, "server", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--workers", str(self.workers), "--backend-store-uri", database),
            *("--artifacts-destination", self.artifacts or str(self.folder / "served")),
        ]

    def settings(self) -> dict[str, str]:
        return {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def postgres_programs() -> Path | None:
    """Where PostgreSQL's programs are: on the path, or where Debian puts them; None without."""
    found = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return Path(found).resolve().parent if found else debian[-1].parent if debian else None


class PostgresServer(Server):
    """Debian's PostgreSQL, with one empty database; as root it runs as its own user."""

    @property
    def address(self) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        programs = postgres_programs()
        assert programs is not None
        ordinary = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        data = self.folder / "data"
        if not data.exists():
            data.mkdir(parents=True)
            if ordinary:
                shutil.chown(data, "postgres")
            begin = [*ordinary, str(programs / "initdb"), "-D", str(data), "-A", "trust"]
            begin += ["-U", "postgres", "-E", "UTF8"]
            subprocess.run(begin, check=True, stdout=subprocess.DEVNULL, cwd="/")
        options = ["-p", str(self.port), "-c", "listen_addresses=127.0.0.1"]
        options += ["-c", "unix_socket_directories="]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*ordinary, str(programs / "postgres"), "-D", str(data), *options],
                cwd="/",
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ready(self) -> None:
        import psycopg

        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:  # those it left when it was killed end first
                self.start()
            with (
                contextlib.suppress(psycopg.OperationalError),
                psycopg.connect(self.address.replace("+psycopg", ""), connect_timeout=5),
            ):
                return
            time.sleep(0.5)
        raise AssertionError((self.folder / "server.log").read_text()[-3000:])


class PoolWorker(Server):
    """Takes the flow runs of a work pool for a project: those are processes of its own."""

    def __init__(self, root: Path, pool: str, api: str, log: Path) -> None:
        super().__init__(log, checkouts.environment(root, PREFECT_API_URL=api))
        self.pool, self.api = pool, api

    def command(self) -> list[str]:
        pool = ("--pool", self.pool, "--type", "process", "--limit", "2")
        return ["-m", "prefect", "worker", "start", "--name", f"at-{self.port}", *pool]

    def settings(self) -> dict[str, str]:
        return {}

    def ready(self) -> None:
        from prefect.client.orchestration import SyncPrefectClient

        from flows.runners.work_pool import online

        deadline = time.monotonic() + PATIENCE
        with SyncPrefectClient(self.api) as client:
            while not online(client, self.pool):
                assert time.monotonic() < deadline
                assert self._process is not None
                assert self._process.poll() is None, (self.folder / "server.log").read_text()
                time.sleep(0.5)

    def kill_alone(self) -> None:
        """As if it were out of memory: what it started goes on."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL that is gone afterwards, with what it held.

    Raises:
        FileNotFoundError: it is not installed.
    """
    if postgres_programs() is None:
        raise FileNotFoundError("PostgreSQL is not installed: apt-get install postgresql")
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)  # its own user is to enter
        server = PostgresServer(Path(name))
        with running(server):
            yield server


@contextlib.contextmanager
def running(server: Server) -> Iterator[None]:
    """Start a server, and end it at the end."""
    server.start()
    try:
        server.ready()
        yield
    finally:
        server.kill()


@contextlib.contextmanager
def recording(server: PrefectServer) -> Iterator[PrefectServer]:
    """Start a Prefect server for the flows of this process, and end it when it was told of all.

    What it is not told, Prefect tries to tell for a minute when the process ends.
    """
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with running(server), temporary_settings({PREFECT_API_URL: server.api}):
        try:
            yield server
        finally:
            EventsWorker.drain_all()
            APILogWorker.drain_all()


def kill(process: subprocess.Popen[bytes] | Forked) -> None:
    """End a process that leads a group, and the group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
