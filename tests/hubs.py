"""A stand-in for the Hugging Face hub: the addresses that `huggingface_hub` asks, on this machine.

https://huggingface.co/docs/hub/api: /api/datasets/NAME/revision/REVISION lists the files, and
/datasets/NAME/resolve/REVISION/FILE answers with X-Repo-Commit, ETag and the content.
"""

import hashlib
import io
import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import parquet

API = re.compile(r"/api/datasets/(?P<name>[^/]+/[^/]+)/revision/(?P<revision>[^/]+)")
FILE = re.compile(r"/datasets/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


def commit(number: int) -> str:
    return f"{number:x}" * 40


@dataclass
class Repository:
    """Commit -> path -> content, branch -> commit; the error code that it answers every request
    with ('' for none), and a file that is listed and not there."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    refuses: str = ""
    absent: str = ""

    def push(self, files: Mapping[str, bytes], branch: str = "main") -> str:
        number = commit(len(self.commits) + 1)
        self.commits[number] = dict(files)
        self.branches[branch] = number
        return number


@dataclass
class StandIn:
    """The stand-in: its repositories, what it was asked, and after how many bytes it hangs up."""

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    hangs_up: dict[str, int] = field(default_factory=dict)

    @property
    def downloads(self) -> list[str]:
        """The files whose content was asked for, and where in it."""
        return [line.removeprefix("GET ") for line in self.asked if line.startswith("GET /data")]


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """A hub at 127.0.0.1."""
    hub = StandIn()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.reply(True)

        def do_HEAD(self) -> None:
            self.reply(False)

        def log_message(self, *_: object) -> None:
            pass

        def refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def reply(self, content: bool) -> None:
            path = unquote(urlsplit(self.path).path.replace("%2F", "\0"))
            hub.asked.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
            found = API.fullmatch(path) or FILE.fullmatch(path)
            repository = hub.repositories.get(found["name"]) if found else None
            if found is None or repository is None:
                return self.refuse(401, "RepoNotFound")
            if repository.refuses:
                return self.refuse(403, repository.refuses)
            revision = found["revision"].replace("\0", "/")
            number = repository.branches.get(revision, revision)
            if number not in repository.commits:
                return self.refuse(404, "RevisionNotFound")
            files = repository.commits[number]
            if "file" not in found.groupdict():
                told = {"id": found["name"], "sha": number}
                siblings = [{"rfilename": file} for file in files]
                return self.send(json.dumps({**told, "siblings": siblings}).encode(), {}, content)
            if found["file"] not in files or found["file"] == repository.absent:
                return self.refuse(404, "EntryNotFound")
            body = files[found["file"]]
            etag = hashlib.sha256(body).hexdigest()
            headers = {"X-Repo-Commit": number, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
            return self.send(
                body, headers, content, hub.hangs_up.pop(found["file"], None) if content else None
            )

        def send(
            self, body: bytes, headers: Mapping[str, str], content: bool, most: int | None = None
        ) -> None:
            start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            first = int(start[1]) if start else 0
            self.send_response(206 if start else 200)
            for name, value in headers.items():
                self.send_header(name, value)
            if start:
                self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(body) - first))
            self.end_headers()
            if content:
                self.wfile.write(body[first:][:most])
            if most is not None:
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def rows(
    texts: Sequence[str],
    labels: Sequence[Any],
    names: Sequence[str] = (),
    **others: Sequence[Any],
) -> bytes:
    """A Parquet file with the columns text and label; `names` as `datasets` writes them in it."""
    table = pa.table({"text": [*texts], "label": [*labels], **{k: [*v] for k, v in others.items()}})
    if names:
        label = {"names": [*names], "_type": "ClassLabel"}
        features = {"text": {"dtype": "string", "_type": "Value"}, "label": label}
        told = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": told})
    out = io.BytesIO()
    parquet.write_table(table, out)
    return out.getvalue()
