"""Each kind of DVC remote that docs/deployments.md tells of: pushed to, and pulled elsewhere."""

import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import checkouts
from tests.buckets import bucket

pytestmark = pytest.mark.slow


class Shelf(http.server.SimpleHTTPRequestHandler):
    """Files by GET, HEAD and PUT, as a web server with `dav_methods PUT` has them."""

    def do_PUT(self) -> None:
        path = Path(self.translate_path(self.path))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self._body())
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length")
        if length is not None:
            return self.rfile.read(int(length))
        parts = []  # chunked, as DVC sends what it streams
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "shelf"
    folder.mkdir()

    def handler(*arguments: object) -> Shelf:
        return Shelf(*arguments, directory=str(folder))  # type: ignore[arg-type]

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/store"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a folder of images and a result of a stage, both DVC's."""
    root = tmp_path_factory.mktemp("dvc") / "project"
    (root / "data" / "red").mkdir(parents=True)
    for number in range(3):
        (root / "data" / "red" / f"{number}.png").write_bytes(bytes([number]) * 1000)
    stage = "stages:\n  cook:\n    cmd: cp data/red/1.png soup.safetensors\n"
    outs = "    deps: [data]\n    outs: [soup.safetensors: {persist: true}]\n"
    (root / "dvc.yaml").write_text(stage + outs)
    for command in (
        "git init --quiet --initial-branch main",
        "dvc init --quiet",
        "dvc add --quiet data",
        "dvc repro --quiet",
    ):
        do(root, command)
    return root


def do(root: Path, command: str) -> str:
    ran = checkouts.run(root, *command.split())
    assert ran.returncode == 0, f"{command}: {ran.stderr}"
    return ran.stdout


def pulled_elsewhere(project: Path, other: Path, *settings: str) -> None:
    """Push to a remote, and pull into a clone that has nothing else."""
    lines = ["[core]", "remote = store", "analytics = false", "['remote \"store\"']", *settings]
    (project / ".dvc" / "config").write_text("\n".join(lines) + "\n")
    do(project, "dvc push --quiet")
    do(project, "git add -A")
    do(project, "git -c user.name=t -c user.email=t@example.com commit --quiet -m all")
    do(project, f"git clone --quiet {project} {other}")
    assert not (other / "data").exists()
    do(other, "dvc pull --quiet")
    for file in ("data/red/0.png", "data/red/2.png", "soup.safetensors"):
        assert (other / file).read_bytes() == (project / file).read_bytes()
    assert "up to date" in do(other, "dvc status")


def test_a_folder_which_is_missed_where_it_lost_a_file(project: Path, tmp_path: Path) -> None:
    remote, other = tmp_path / "remote", tmp_path / "other"
    pulled_elsewhere(project, other, f"url = {remote}")
    next(file for file in remote.rglob("*") if file.is_file()).unlink()
    for name in ("data", ".dvc/cache"):
        shutil.rmtree(other / name)
    (other / "soup.safetensors").unlink()
    ran = checkouts.run(other, "dvc", "pull")
    assert ran.returncode != 0
    assert "failed to pull" in ran.stderr.lower()


def test_s3(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with bucket("soup") as reach:
        for name in ("aws_access_key_id", "aws_secret_access_key"):
            monkeypatch.setenv(name.upper(), reach[name])
        monkeypatch.setenv("AWS_DEFAULT_REGION", reach["region_name"])
        address = f"endpointurl = {reach['endpoint_url']}"
        pulled_elsewhere(project, tmp_path / "other", "url = s3://soup/dvc", address)


def test_http(project: Path, tmp_path: Path, shelf: str) -> None:
    pulled_elsewhere(project, tmp_path / "other", f"url = {shelf}", "method = PUT")
    assert any(file.is_file() for file in (tmp_path / "shelf").rglob("*"))
