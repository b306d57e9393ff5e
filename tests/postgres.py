"""A PostgreSQL of its own for the tests that need its limits; it ends with them."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

MISSING = "PostgreSQL is not installed (apt-get install postgresql)"


def programs() -> Path | None:
    """The folder of its programs, the newest; None if it is not installed."""
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


@contextlib.contextmanager
def started() -> Iterator[str]:
    """Start a server that listens on a socket in a folder alone; its address for MLflow."""
    found = programs()
    assert found is not None
    # It refuses to run as root.
    user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []

    def run(program: str, *arguments: str) -> None:
        command = [*user, str(found / program), *arguments]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    folder = Path(tempfile.mkdtemp(prefix="modelsoup-postgres-", dir="/tmp"))  # a socket's is short
    try:
        if user:
            shutil.chown(folder, "postgres")
        data, options = str(folder / "data"), f"-k {folder} -c listen_addresses= -c fsync=off"
        run("initdb", "--pgdata", data, "--username", "modelsoup", "--auth", "trust", "--no-sync")
        log = str(folder / "log")
        run("pg_ctl", "start", "--wait", "--silent", "--pgdata", data, "--log", log, "-o", options)
        try:
            yield f"postgresql+psycopg://modelsoup@/postgres?host={folder}"
        finally:
            run("pg_ctl", "stop", "--pgdata", data, "--mode", "immediate")
    finally:
        shutil.rmtree(folder)
