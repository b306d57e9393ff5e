"""What is said of a server that cannot be used, before anything is begun."""

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import mlflow
import pytest

from soup.tracking import Store, TrackingError
from soup.tracking.experiment import link
from soup.tracking.server_check import answers, without_artifacts
from tests import homes

MAJOR, MINOR = mlflow.__version__.split(".")[:2]


class Server(HTTPServer):
    """Answers every request in the same way."""

    status, text = 200, mlflow.__version__
    asked: list[str]

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.asked.append(self.path)
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.text.encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Answer)
    made.asked = []
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def refused(server: Server, status: int, text: str) -> str:
    server.status, server.text = status, text
    with pytest.raises(TrackingError) as error:
        answers(server.uri)
    assert server.uri in str(error.value)
    assert server.asked == ["/version"]  # and not again for minutes, as MLflow's client does
    return str(error.value)


def test_wrong_credentials_say_which_variables_to_set(server: Server) -> None:
    said = refused(server, 401, "You are not authenticated.")
    assert "refuses the credentials; set MLFLOW_TRACKING_USERNAME and" in said


def test_a_server_of_another_major_version_is_refused(server: Server) -> None:
    said = refused(server, 200, "1.30.0")
    assert f"is version 1.30.0, and here is {mlflow.__version__}" in said
    assert "pip install 'mlflow==1.30.0'" in said


def test_a_server_of_another_minor_version_is_warned_of(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        answers(server.uri)
        assert not caplog.records
        server.text = f"{MAJOR}.{int(MINOR) + 1}.0"
        answers(server.uri)
    assert f"is version {server.text}, and here is" in caplog.text


def test_what_is_not_mlflow_is_refused(server: Server) -> None:
    assert "is not MLflow" in refused(server, 200, "<html>")


def test_a_server_that_fails_or_forbids_is_named(server: Server) -> None:
    assert "answers with 500" in refused(server, 500, "")
    server.asked.clear()
    assert "refuses us: Invalid Host header" in refused(server, 403, "Invalid Host header")


def test_a_server_that_does_not_answer_is_named_at_once_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1:9 does not answer \(\[Errno 111\]"):
        Store("http://127.0.0.1:9", "tests", tmp_path)


def test_a_password_in_the_address_is_never_shown(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = server.uri.replace("://", "://ada:secret@")
    server.status, server.text = 500, ""
    with pytest.raises(TrackingError) as error:
        answers(secret)
    assert server.uri in str(error.value)
    server.status, server.text = 200, f"{MAJOR}.{int(MINOR) + 1}.0"
    with caplog.at_level(logging.WARNING):
        answers(secret)
    page = link(secret, "experiments/1")
    assert page.startswith(f"{server.uri}/#/experiments/1")
    assert "secret" not in str(error.value) + caplog.text + page


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "Failed to list artifacts in s3://nope: The specified bucket does not exist"),
        (401, "Failed to list artifacts in s3://soup: The request signature does not match"),
    ],
)
def test_a_bucket_that_the_server_cannot_read_is_told_before_anything_is_trained(
    server: Server, tmp_path: Path, status: int, message: str
) -> None:
    server.status, server.text = status, json.dumps({"error_code": "X", "message": message})
    said = without_artifacts(server.uri, "1")
    assert f"{server.uri} cannot read the store of its artifacts ({message})" in said
    Store(homes.tracking(tmp_path), "tests", tmp_path).require_artifacts()


def test_a_server_without_artifacts_of_its_own_is_no_error(server: Server) -> None:
    for server.status, server.text in ((200, "{}"), (503, "disabled"), (404, "Not Found")):
        assert not without_artifacts(server.uri, "1")
    server.status, server.text = 500, "<html>"
    assert "does its bucket exist" in without_artifacts(server.uri, "1")
