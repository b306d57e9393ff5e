"""Prefect of the containers: the image's files and compose's settings, here and on SQLite."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import checkouts, doors, homes
from tests.infra.test_compose import SERVICES, filled
from tests.infra.test_images import stages
from tests.servers import free_port, kill
from tests.waiting import until

pytestmark = pytest.mark.slow
PASSWORD = "a-password-for-this-test"
OWN = "https://soup.example:4201"


@dataclass(frozen=True)
class Container:
    root: Path
    port: int
    auth: str


def image(root: Path) -> Path:
    """What of ours the image `server` copies to /srv, and nothing else."""
    for word, rest in stages()["server"]:
        *sources, target = shlex.split(rest)
        if word == "COPY" and target.startswith("/srv/"):
            folder = root / target.strip("/")
            folder.mkdir(parents=True, exist_ok=True)
            for source in sources:
                shutil.copy(checkouts.REPO / source, folder)
    return root / "srv"


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    root = tmp_path_factory.mktemp("container")
    told = filled(
        "prefect", PUBLIC_HOST="soup.example", PREFECT_PORT="4201", PREFECT_PASSWORD=PASSWORD
    )
    port = free_port()
    environment = told | {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "PYTHONPATH": str(image(root)),
        "HOME": str(root),
        "PREFECT_HOME": str(homes.furnish(root / "home")),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{root}/home/prefect.db",
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(root / "pages"),
    }
    command = SERVICES["prefect"]["command"]
    assert {"--host=0.0.0.0", "--port=4200"} <= set(command)
    here = {"--host=0.0.0.0": "--host=127.0.0.1", "--port=4200": f"--port={port}"}
    process = subprocess.Popen(
        [here.get(word, word) for word in command],
        cwd=root,
        env=environment,
        start_new_session=True,
        stdout=(root / "log").open("wb"),
        stderr=subprocess.STDOUT,
    )
    try:

        def answers() -> bool:
            assert process.poll() is None, (root / "log").read_text()[-3000:]
            try:
                return doors.asked(port, "/api/health")[0] == 200
            except OSError:
                return False

        until(answers, "Prefect")
        yield Container(root, port, told["PREFECT_SERVER_API_AUTH_STRING"])
    finally:
        kill(process)


@pytest.mark.parametrize("host", ["prefect:4200", "soup.example:4201", "127.0.0.1:4200"])
def test_it_answers_to_the_names_that_it_has(container: Container, host: str) -> None:
    version, known = "/api/admin/version", container.auth
    assert known == f"modelsoup:{PASSWORD}"
    assert doors.asked(container.port, version, Host=host)[0] == 401
    assert doors.asked(container.port, version, "GET", known, Host=host)[0] == 200
    status, headers = doors.asked(container.port, version, "GET", known, Host=host, Origin=OWN)
    assert (status, headers[doors.ALLOWS]) == (200, OWN)
    assert doors.handshake(container.port, "events/in", host, OWN) == 101


def test_it_refuses_all_others(container: Container) -> None:
    version, known = "/api/admin/version", container.auth
    for origin in ("https://evil.example", "null", f"http://127.0.0.1:{container.port}"):
        assert doors.asked(container.port, version, "GET", known, Origin=origin)[0] == 403
        assert doors.preflight(container.port, version, origin)[0] == 403
        assert doors.handshake(container.port, "logs/out", "", origin) == 403
    for host in ("evil.example", "soup.example.evil.example:4201"):
        assert doors.asked(container.port, version, "GET", known, Host=host)[0] == 400
        assert doors.handshake(container.port, "events/out", host) == 400


def test_its_pages_are_copied_to_where_it_may_write(container: Container) -> None:
    pages = container.root / "pages"
    assert re.search("<title>Prefect", "".join(f.read_text() for f in pages.rglob("index.html")))
    status, headers = doors.asked(container.port, "/", Accept="text/html")
    assert status in (200, 307)
    assert OWN in headers["content-security-policy"]
    assert SERVICES["prefect"]["environment"]["PREFECT_SERVER_UI_STATIC_DIRECTORY"].startswith(
        "/tmp/"
    )
