"""A checkout with `make deploy` running in it."""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests import checkouts, homes
from tests.servers import free_port, kill


def basic(credentials: str) -> dict[str, str]:
    """The header that carries user:password; none without them."""
    coded = base64.b64encode(credentials.encode()).decode()
    return {"Authorization": f"Basic {coded}"} if credentials else {}


def ask(api: str, path: str, body: dict[str, Any] | None = None, credentials: str = "") -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **basic(credentials)}
    request = urllib.request.Request(f"{api}{path}", data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@dataclass(frozen=True)
class Served:
    """A checkout, the environment to reach its servers, and what was printed as they started."""

    root: Path
    reach: dict[str, str]
    said: str = ""

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Prefect's answer."""
        known = self.reach.get("PREFECT_API_AUTH_STRING", "")
        return ask(self.reach["PREFECT_API_URL"], path, body, known)

    def runs(self, deployment: str = "") -> list[dict[str, Any]]:
        """Flow runs, all or those of a deployment, the oldest first."""
        runs: list[dict[str, Any]] = self.ask("/flow_runs/filter", {"sort": "START_TIME_ASC"})
        if not deployment:
            return runs
        own = self.ask(f"/deployments/name/{deployment}")["id"]
        return [run for run in runs if run["deployment_id"] == own]

    def run(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout."""
        return checkouts.run(self.root, *command, **self.reach, **more)

    def log(self) -> str:
        """What the worker said."""
        return (self.root / ".cache/ui/worker.log").read_text()


@contextmanager
def deployed(
    root: Path, changes: Mapping[str, Any] | None = None, **environment: str
) -> Iterator[Served]:
    """`make deploy` in a new checkout, without make.

    Args:
        changes: replace top-level parts of the parameters.
    """
    checkouts.make(root, **(changes or {}))
    shutil.copy(checkouts.REPO / "prefect.yaml", root)
    with running(root, "worker", **environment) as served:
        assert "pipeline/local" in served.said, served.said
        told = (root / ".cache/ui/env").read_text()
        known = dict(re.findall(r"^export (\w+)=(.*)$", told, re.M))
        assert served.reach.items() <= known.items()
        yield replace(served, reach=known)


KEPT = "a-password-of-the-last-start_123"


def places(folder: Path) -> dict[str, Path]:
    """Where what tests share is: the checkout, and what a repository of it is made of."""
    names = {"root": "checkout", "repository": "project.git", "remote": "remote"}
    return {name: folder / path for name, path in (names | {"clones": "clones"}).items()}


@contextmanager
def shared(folder: Path) -> Iterator[Served]:
    """`make deploy` where it ran before, and left its password, KEPT, for all to read."""
    known = places(folder)
    env = known["root"] / ".cache/ui/env"
    env.parent.mkdir(parents=True)
    env.write_text(f"export PREFECT_API_AUTH_STRING=modelsoup:{KEPT}\n")
    env.chmod(0o644)
    environment = {
        "MODELSOUP_REPOSITORY": str(known["repository"]),
        "MODELSOUP_CHECKOUTS": str(known["clones"]),
    }
    with deployed(known["root"], **environment) as made:
        yield made


@contextmanager
def running(root: Path, *arguments: str, **environment: str) -> Iterator[Served]:
    """infra/ui.sh in a folder, on free ports: `make ui`, or `make deploy` by `worker`."""
    shutil.copytree(checkouts.REPO / "infra", root / "infra", dirs_exist_ok=True)
    homes.tracking(root)
    mlflow, prefect = free_port(), free_port()
    ports = {"MLFLOW_PORT": str(mlflow), "PREFECT_PORT": str(prefect)}
    process = subprocess.Popen(
        ["bash", "infra/ui.sh", *arguments],
        cwd=root,
        env=checkouts.environment(root, **ports, **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said = []
    assert process.stdout is not None
    try:
        for line in process.stdout:
            said.append(line)
            if "Ctrl-C" in line:
                break
        assert "Ctrl-C" in "".join(said), said
        api = f"http://127.0.0.1:{prefect}/api"
        uri = f"http://127.0.0.1:{mlflow}"
        reach = {"PREFECT_API_URL": api, "MLFLOW_TRACKING_URI": uri}
        yield Served(root, reach, "".join(said))
    finally:
        os.killpg(process.pid, signal.SIGINT)
        # The worker that gets it too may go on telling the Prefect server, gone, for minutes.
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        kill(process)
