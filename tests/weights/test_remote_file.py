"""Files on a server: read in ranges, and never trusted."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest
import torch

from soup.weights import average
from soup.weights.checkpoint import Checkpoint, save
from soup.weights.shards import CheckpointError
from tests.files import different, sharded


def lies(good: bytes) -> Iterator[tuple[str, bytes]]:
    """The same file with headers that lie, each in its own way."""
    length = int.from_bytes(good[:8], "little")
    header, data = json.loads(good[8 : 8 + length]), good[8 + length :]

    def with_header(**changes: object) -> bytes:
        text = json.dumps({**header, "w": {**header["w"], **changes}}).encode()
        return len(text).to_bytes(8, "little") + text + data

    yield "an offset past the end", with_header(data_offsets=[0, 4000])
    yield "an offset that leaves a gap", with_header(data_offsets=[4, 44])
    yield "offsets the wrong way round", with_header(data_offsets=[40, 0])
    yield "a shape larger than its bytes", with_header(shape=[1000])
    yield "an unknown dtype", with_header(dtype="F13")
    yield "a length past the end", (1 << 40).to_bytes(8, "little") + good[8:]
    yield "no length", good[:5]
    yield "too little data", good[:-8]
    yield "too much data", good + b"12345678"
    yield "no JSON", good[:8] + b"?" + good[9:]


def test_a_header_that_lies_is_refused_from_disk_and_from_a_server(
    tmp_path: Path, server: Callable[[Path], str]
) -> None:
    save({"w": torch.zeros(10)}, tmp_path / "good.safetensors")
    for kind, data in lies((tmp_path / "good.safetensors").read_bytes()):
        path = tmp_path / "bad.safetensors"
        path.write_bytes(data)
        for place in (str(path), f"{server(tmp_path)}/bad.safetensors"):
            with pytest.raises(CheckpointError, match=r"bad.safetensors: not a readable"):
                assert Checkpoint(place) is None, f"{kind} was not noticed in {place}"


def test_a_server_is_asked_for_the_header_and_the_tensors_wanted_and_no_more(
    tmp_path: Path, server: Callable[[Path], str]
) -> None:
    weights = {f"w{i}": torch.rand(200_000) for i in range(4)} | {"n": torch.tensor(3)}
    save(weights, tmp_path / "model.safetensors", {"lr": "0.1"})
    url = f"{server(tmp_path)}/model.safetensors"
    remote = Checkpoint(url)
    assert remote.metadata == {"lr": "0.1"}
    assert torch.equal(remote["w2"], weights["w2"])
    assert int(remote["n"]) == 3
    sent = sum(RangeHandler.sent)
    assert sent < 1.2e6 < 3.2e6 < (tmp_path / "model.safetensors").stat().st_size
    assert all(torch.equal(remote[name], weights[name]) for name in weights)
    assert remote.digest() == Checkpoint(url).digest() != Checkpoint(tmp_path).digest()


def test_shards_on_a_server_are_averaged_with_files_on_disk(
    tmp_path: Path, server: Callable[[Path], str]
) -> None:
    models = [different(5), {name: tensor + 1 for name, tensor in different(5).items()}]
    sharded(models[0], tmp_path / "far")
    save(models[1], tmp_path / "near.safetensors")
    url = f"{server(tmp_path)}/far/model.safetensors.index.json"
    soup = average([Checkpoint(url), Checkpoint(tmp_path / "near.safetensors")])
    expected = average(models)
    assert all(torch.equal(soup[name], expected[name]) for name in expected)


def test_a_server_that_is_away_or_lacks_the_file_is_named(
    tmp_path: Path, server: Callable[[Path], str]
) -> None:
    for url in (f"{server(tmp_path)}/none.safetensors", "http://127.0.0.1:9/w.safetensors"):
        with pytest.raises(CheckpointError, match=f"{url}: not a readable"):
            Checkpoint(url)


class RangeHandler(SimpleHTTPRequestHandler):
    """Files by range, as object stores send them; the bytes sent are noted."""

    sent: ClassVar[list[int]] = []

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data, wanted = path.read_bytes(), self.headers.get("Range")
        first, last = 0, len(data) - 1
        if wanted:
            first, last = (int(n) for n in wanted.removeprefix("bytes=").split("-"))
        part = data[first : last + 1]
        self.send_response(206 if wanted else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.end_headers()
        self.wfile.write(part)
        self.sent.append(len(part))

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Callable[[Path], str]]:
    """Starts a server of a folder, on this machine alone; its address."""
    running: dict[Path, ThreadingHTTPServer] = {}

    def start(folder: Path) -> str:
        if folder not in running:
            handler = partial(RangeHandler, directory=str(folder))
            running[folder] = ThreadingHTTPServer(("127.0.0.1", 0), handler)
            Thread(target=running[folder].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{running[folder].server_port}"

    RangeHandler.sent.clear()
    yield start
    for each in running.values():
        each.shutdown()
        each.server_close()
