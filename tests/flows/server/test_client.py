"""What is said of a Prefect server that cannot be used, before a flow run is begun."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import prefect
import pytest
from httpx import ConnectError, HTTPStatusError, Request, Response
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from flows.server import client
from flows.server.client import PrefectError, require, retry_while_restarting
from tests.flows.clock import Clock


class Server(HTTPServer):
    version = prefect.__version__

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        known = f"Basic {base64.b64encode(b'user:right').decode()}"
        self.send_response(200 if self.headers["Authorization"] == known else 401)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(self.server.version).encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Answer)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def refused(url: str, password: str = "right") -> str:
    known = {PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: f"user:{password}"}
    with temporary_settings(known), pytest.raises(PrefectError) as error:
        require()
    assert url in str(error.value)
    return str(error.value)


def test_a_server_that_fits_is_let_pass_and_so_is_none(server: Server) -> None:
    known = {PREFECT_API_URL: server.uri, PREFECT_API_AUTH_STRING: "user:right"}
    with temporary_settings(known):
        require()
    with temporary_settings({PREFECT_API_URL: None}):
        require()


def test_wrong_credentials_say_which_variable_to_set(server: Server) -> None:
    assert "refuses the credentials; set PREFECT_API_AUTH_STRING" in refused(server.uri, "wrong")


def test_a_server_of_another_major_version_is_refused(server: Server) -> None:
    server.version = "2.20.1"
    said = refused(server.uri)
    assert f"is version 2.20.1, and here is {prefect.__version__}" in said
    assert "pip install 'prefect==2.20.1'" in said


def test_a_server_that_does_not_answer_is_named() -> None:
    assert "does not answer" in refused("http://127.0.0.1:9/api")


@pytest.fixture
def clock(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(client, "time", SimpleNamespace(monotonic=clock, sleep=clock.sleep))
    return clock


def test_a_server_that_restarts_is_waited_for(clock: Clock) -> None:
    def ask() -> str:
        if clock.now < client.AWAY - 5:
            raise ConnectError("away")
        return "there"

    assert retry_while_restarting(ask) == "there"


def test_one_that_stays_away_is_given_up(clock: Clock) -> None:
    def ask() -> None:
        raise ConnectError("away")

    with pytest.raises(ConnectError):
        retry_while_restarting(ask)
    assert client.AWAY < clock.now < client.AWAY + 10


def test_the_wait_begins_when_what_took_hours_fails(clock: Clock) -> None:
    worked: list[float] = []

    def ask() -> str:
        worked.append(clock.now)
        if len(worked) in (1, 3):
            clock.now += 3600
        if len(worked) < 5:
            raise ConnectError("away")
        return "there"

    assert retry_while_restarting(ask) == "there"


@pytest.mark.parametrize(("status", "times"), [(404, 1), (503, 2)])
def test_an_answer_that_will_not_change_is_not_asked_for_again(
    clock: Clock, status: int, times: int
) -> None:
    asked: list[int] = []
    request = Request("GET", "http://127.0.0.1")

    def ask() -> None:
        asked.append(status)
        if len(asked) == 2:
            raise KeyError
        raise HTTPStatusError("no", request=request, response=Response(status))

    with pytest.raises((HTTPStatusError, KeyError)):
        retry_while_restarting(ask)
    assert len(asked) == times
