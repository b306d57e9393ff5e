"""`soup push` uploads the parts of a model in one commit, to a stand-in of the hub's interface."""

import base64
import json
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from soup.weights.checkpoint import Checkpoint, save
from tests.cli.conftest import Command
from tests.worlds import put, tiny


class Hub(ThreadingHTTPServer):
    """What the hub's HTTP interface does of an upload, in memory."""

    token = "hf_of_a_test"
    refusal = ("", 0)  # an end of a path, and the status that is answered there

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.repositories: dict[str, bool] = {}
        self.branches: list[str] = []
        self.blobs: dict[str, bytes] = {}
        self.commits: list[tuple[str, dict[str, Any]]] = []
        self.address = f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *arguments: Any) -> None:
        """Nothing."""

    def answer(self, value: Any, status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.blobs[self.path.rpartition("/")[2]] = content
        self.answer({})

    def do_POST(self) -> None:
        hub, path = self.server, self.path.partition("?")[0]
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {hub.token}":
            self.answer({"error": "Invalid username or password."}, 401)
        elif hub.refusal[0] and hub.refusal[0] in path:
            self.answer({"error": "You don't have the rights to do this"}, hub.refusal[1])
        elif path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            asked = json.loads(content)
            name = f"{asked['organization']}/{asked['name']}"
            private = asked.get("private") or asked.get("visibility") == "private"
            hub.repositories[name] = bool(private)
            self.answer({"url": f"{hub.address}/{name}"})
        elif "/branch/" in path:
            hub.branches.append(path.rpartition("/")[2])
            self.answer({})
        elif "/preupload/" in path:
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(content)["files"]
            ]
            self.answer({"files": files})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**o, "actions": {"upload": {"href": f"{hub.address}/lfs/{o['oid']}"}}}
                for o in json.loads(content)["objects"]
            ]
            self.answer({"transfer": "basic", "objects": objects})
        elif "/commit/" in path:
            entries = [json.loads(line) for line in content.splitlines()]
            files: dict[str, Any] = {}
            for entry in entries:
                value = entry["value"]
                if entry["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif entry["key"] == "lfsFile":
                    files[value["path"]] = hub.blobs[value["oid"]]
            hub.commits.append((path.rpartition("/")[2], files))
            url = f"{hub.address}/x/y/commit/1"
            self.answer({"commitUrl": url, "commitOid": "1" * 40, "success": True})
        else:
            self.answer({"error": f"not expected: {path}"}, 404)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("HF_TOKEN", Hub.token)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put(tmp_path / "model", tiny())
    (tmp_path / "model" / "README.md").write_text("---\nlicense: mit\n---\n# x\n")
    (tmp_path / "model" / "heldout.npz").write_bytes(b"predictions")
    (tmp_path / "model" / "train.py").write_text("print('x')\n")
    (tmp_path / "model" / "secret.json").write_text("{}")
    (tmp_path / "model" / "1_Pooling").mkdir()
    (tmp_path / "model" / "1_Pooling" / "config.json").write_text("{}")
    return tmp_path / "model"


PARTS = {"1_Pooling/config.json", "README.md", "config.json", "model.json", "model.safetensors"}


def test_the_parts_of_a_model_go_into_one_commit(soup: Command, hub: Hub, folder: Path) -> None:
    said = soup("push", folder, "owner/name", "--private", "--revision", "v1")
    assert said.code == 0, said.err
    assert hub.repositories == {"owner/name": True}
    assert hub.branches == ["v1"]
    [(branch, files)] = hub.commits
    assert branch == "v1"
    assert files.keys() == PARTS
    for name, content in files.items():
        assert content == (folder / name).read_bytes()
    assert f"{hub.address}/owner/name/tree/v1" in said.err
    assert "left out: heldout.npz, secret.json, train.py" in said.err


def test_a_dry_run_lists_the_files_and_asks_no_server(
    soup: Command, hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    said = soup("push", folder, "owner/name", "--dry-run", "--json")
    assert said.code == 0
    assert json.loads(said.out)["files"].keys() == PARTS
    assert not hub.repositories
    assert not hub.commits


def test_a_folder_without_a_card_gets_one_of_what_its_files_say(
    soup: Command, hub: Hub, folder: Path
) -> None:
    (folder / "README.md").unlink()
    weights = Checkpoint(folder)
    notes = {"base": "5" * 64, "lr": "0.0003", "accuracy": "0.875000"}
    save(weights, folder / "model.safetensors", notes)
    said = soup("push", folder, "owner/fine-tune")
    assert said.code == 0, said.err
    assert "no README.md" not in said.err
    [(_, files)] = hub.commits
    card = huggingface_hub.ModelCard(files["README.md"].decode())
    assert card.data.library_name == "timm"
    assert card.data.license is None
    assert "# fine-tune\n\nA model of images, fine-tuned from the weights with SHA-256 555" in (
        card.text
    )
    assert "| learning rate | 0.0003 |" in card.text
    assert "| held-out accuracy when it was made | 0.875000 |" in card.text
    assert not (folder / "README.md").exists()


def test_a_card_is_not_made_of_nothing(soup: Command, hub: Hub, folder: Path) -> None:
    (folder / "README.md").unlink()
    (folder / "model.json").unlink()
    said = soup("push", folder, "owner/name")
    assert said.code == 0, said.err
    assert "has no README.md: the model's page will not say what it is" in said.err
    assert "README.md" not in hub.commits[0][1]


def test_without_a_token_nothing_is_asked(
    soup: Command, hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    said = soup("push", folder, "owner/name")
    assert said.code == 2
    assert "there is no token for the hub: run 'hf auth login', or set HF_TOKEN" in said.err
    assert not hub.repositories


@pytest.mark.parametrize(
    ("token", "refusal", "told"),
    [
        ("hf_another", ("", 0), "Invalid username or password.* the token is not known there"),
        (Hub.token, ("/repos/create", 403), "You don't have the rights .* give another OWNER"),
        (Hub.token, ("/commit/", 403), "You don't have the rights .* give another OWNER"),
    ],
)
def test_a_hub_that_refuses_is_told_in_a_line(
    soup: Command,
    hub: Hub,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    token: str,
    refusal: tuple[str, int],
    told: str,
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    hub.refusal = refusal
    said = soup("push", folder, "owner/name")
    assert said.code == 1
    assert not hub.commits
    assert re.search(f"{hub.address} refuses owner/name: .*{told}", said.err), said.err
    assert "Traceback" not in said.err
    assert token not in said.err


def test_a_hub_that_is_not_there_is_named(
    soup: Command, hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    said = soup("push", folder, "owner/name")
    assert said.code == 1
    assert f"{address} does not take owner/name, nothing is committed: " in said.err
    assert "Traceback" not in said.err


def test_what_is_no_model_or_no_name_is_refused_before_any_request(
    soup: Command, hub: Hub, folder: Path, tmp_path: Path
) -> None:
    said = soup("push", tmp_path / "nowhere", "name")
    assert said.code == 2
    assert "'name' is no name of a repository: give OWNER/NAME" in said.err
    assert "nowhere is no folder" in said.err
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"x")
    said = soup("push", folder, "owner/name")
    assert said.code == 2
    assert "has no weights (*.safetensors): convert them by 'soup import'" in said.err
    assert not hub.repositories
