"""A PostgreSQL and an MLflow server of one's own, in a temporary folder, for as long as needed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes more
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}


def binaries() -> Path | None:
    """Where PostgreSQL's programs are: on the path, or where Debian puts them; None without."""
    found = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return Path(found).resolve().parent if found else debian[-1].parent if debian else None


@contextmanager
def postgres() -> Iterator[str]:
    """SQLAlchemy's address of an empty database, which is gone afterwards.

    Raises:
        FileNotFoundError: PostgreSQL is not installed.
    """
    programs = binaries()
    if programs is None:
        raise FileNotFoundError("PostgreSQL is not installed: apt-get install postgresql")
    with tempfile.TemporaryDirectory(prefix="postgres-") as data:
        ordinary: Sequence[str] = ()
        if os.geteuid() == 0:  # which PostgreSQL refuses to run as
            ordinary = ("runuser", "-u", "postgres", "--")
            shutil.chown(data, "postgres")

        def run(program: str, *arguments: str) -> None:
            command = [*ordinary, str(programs / program), "-D", data, *arguments]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")

        run("initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8")
        port = _free_port()
        only = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        run("pg_ctl", "-l", f"{data}/log", "-o", only, "-t", "120", "-w", "start")
        try:
            yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-m", "immediate", "-w", "stop")


@contextmanager
def mlflow_server(database: str, folder: Path, workers: int = 2) -> Iterator[str]:
    """The address of an MLflow server over a database, which keeps artifacts in a folder."""
    port = _free_port()
    uri = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database]
    command += ["--artifacts-destination", str(folder), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", str(workers)]
    environment: Mapping[str, str] = os.environ | QUIET
    server = subprocess.Popen(
        command, env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait(uri, server)
        yield uri
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait(uri: str, server: "subprocess.Popen[bytes]", seconds: float = 180.0) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(f"{uri}/health", timeout=5).close()
        except OSError:
            if server.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.3)
        else:
            return


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
