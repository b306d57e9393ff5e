"""`make services` in a checkout around a tiny image set, on free ports."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import checkouts
from tests.servers import free_port

PORTS = ("POSTGRES_PORT", "S3_PORT", "MLFLOW_PORT", "PREFECT_PORT")


def free_ports() -> dict[str, str]:
    return {name: str(free_port()) for name in PORTS}


def serves_s3() -> bool:
    """Whether the rclone that is installed does, as 1.65 and newer do."""
    if not shutil.which("rclone"):
        return False
    told = subprocess.run(
        ["rclone", "serve", "--help"], capture_output=True, text=True, check=False
    )
    return "\n  s3 " in told.stdout


def missing() -> str:
    """What is not installed here that the services need; '' if nothing is."""
    postgres = [*Path("/usr/lib/postgresql").glob("*/bin/initdb"), shutil.which("initdb")]
    return "" if any(postgres) else "PostgreSQL is not installed (apt-get install postgresql)"


@dataclass(frozen=True)
class Services:
    """
    Attributes:
        root: the checkout that they are started in.
        folder: SERVICES_DIR.
        ports: by the name of their variable.
    """

    root: Path
    folder: Path
    ports: dict[str, str]

    def script(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """infra/services.sh, as `make` calls it."""
        settings = {"SERVICES_DIR": str(self.folder), **self.ports, **more}
        return self.run("bash", "infra/services.sh", *arguments, **settings)

    def run(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        """A command in the checkout, however busy the machine is."""
        return subprocess.run(
            command,
            cwd=self.root,
            env=checkouts.environment(self.root, **more),
            capture_output=True,
            text=True,
            timeout=1800,
            check=False,
        )

    @property
    def env(self) -> dict[str, str]:
        """What `source .services/env` sets."""
        return self._sourced("env")

    @property
    def administrator(self) -> dict[str, str]:
        """What `source .services/psql-env` sets: PostgreSQL's administrator."""
        return self._sourced("psql-env")

    @property
    def remembered(self) -> dict[str, str]:
        """Ports and passwords by the name of their variable."""
        lines = (self.folder / "settings").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def _sourced(self, name: str) -> dict[str, str]:
        shell = f"set -a; . {self.folder}/{name}; env -0"
        said = subprocess.run(["bash", "-c", shell], env={}, capture_output=True, check=True)
        found = dict(entry.split("=", 1) for entry in said.stdout.decode().split("\0") if entry)
        return {k: v for k, v in found.items() if k not in ("PWD", "SHLVL", "_", "OLDPWD")}

    def processes(self) -> dict[int, str]:
        """Command lines of what was started and lives, PostgreSQL's aside."""
        mark = f"MODELSOUP_SERVICE={self.folder}/".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found[int(entry.name)] = line
            except OSError:
                continue
        return found


def checkout(root: Path) -> Path:
    checkouts.make(root)
    shutil.copytree(checkouts.REPO / "infra", root / "infra")
    shutil.copy(checkouts.REPO / "prefect.yaml", root)
    return root


@contextlib.contextmanager
def started(root: Path, **settings: str) -> Iterator[Services]:
    """The services of a checkout that is made at root; they are stopped at the end."""
    checkout(root)
    folder = Path(tempfile.mkdtemp(prefix="modelsoup-services-"))
    services = Services(root, reachable(folder), free_ports())
    try:
        ran = services.script("up", **settings)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        yield services
    finally:
        services.script("down")
        shutil.rmtree(folder)


def own(reach: dict[str, str]) -> dict[str, str]:
    """A bucket of `tests.buckets` as a user names it to the services."""
    return {
        "S3_ENDPOINT": reach["endpoint_url"],
        "S3_ACCESS_KEY_ID": reach["aws_access_key_id"],
        "S3_SECRET_ACCESS_KEY": reach["aws_secret_access_key"],
    }


def listens(port: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) == 0


def reachable(folder: Path) -> Path:
    """A folder that PostgreSQL's own user can enter, who runs it where we are root."""
    if os.getuid() == 0:
        folder.chmod(0o711)
    return folder
