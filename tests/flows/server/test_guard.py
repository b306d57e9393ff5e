"""Checks of Host and Origin, before an application that answers everybody."""

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket

from flows.server import guard
from flows.server.guard import guarded, listed

OWN = "http://127.0.0.1:4200"
FOREIGN = (
    "https://evil.example",
    "null",
    "http://127.0.0.1:4201",
    "https://127.0.0.1:4200",
    "http://127.0.0.1:4200.evil.example",
    "",
)
METHODS = ["GET", "POST", "OPTIONS"]


async def page(_: Request) -> PlainTextResponse:
    return PlainTextResponse("in")


async def socket(opened: WebSocket) -> None:
    await opened.accept()
    await opened.send_text("in")
    await opened.close()


@pytest.fixture
def client() -> TestClient:
    routes = [Route("/", page, methods=METHODS), WebSocketRoute("/out", socket)]
    app = guarded(Starlette(routes=routes), ["127.0.0.1", "soup.example"], [OWN])
    return TestClient(app, base_url=OWN)


def opens(client: TestClient, **headers: str) -> int:
    """Status of a WebSocket's handshake."""
    try:
        with client.websocket_connect(f"{OWN.replace('http', 'ws')}/out", headers=headers) as ws:
            assert ws.receive_text() == "in"
        return 101
    except WebSocketDenialResponse as refused:
        return refused.status_code


@pytest.mark.parametrize("method", METHODS)
def test_a_page_of_the_server_and_a_program_are_let_in(client: TestClient, method: str) -> None:
    assert client.request(method, "/").text == "in"
    assert client.request(method, "/", headers={"Origin": OWN}).text == "in"
    assert opens(client) == opens(client, Origin=OWN) == 101


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_page_of_another_origin_is_refused(client: TestClient, origin: str) -> None:
    for method in METHODS:
        refused = client.request(method, "/", headers={"Origin": origin})
        assert refused.status_code == 403
        assert "PREFECT_SERVER_CORS_ALLOWED_ORIGINS" in refused.text
        assert "access-control-allow-origin" not in refused.headers
    assert opens(client, Origin=origin) == 403


def test_an_origin_beside_a_foreign_one_does_not_help(client: TestClient) -> None:
    both: Any = [("Origin", OWN), ("Origin", "https://evil.example")]
    assert client.get("/", headers=both).status_code == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:4200", "www.soup.example"]
)
def test_another_host_is_refused_with_any_origin(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 400
    assert client.get("/", headers={"Host": host, "Origin": OWN}).status_code == 400
    assert opens(client, Host=host) == 400
    assert client.get("/", headers={"Host": "soup.example:4200"}).text == "in"


def test_a_list_names_nobody_by_a_star() -> None:
    assert listed(" a.example, b.example ,,*, *.example") == ["a.example", "b.example"]
    assert listed("*") == listed("") == []


def test_browsers_are_told_to_ask_nobody_else(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    named = {word for rule in rules.values() for word in rule.split() if "//" in word}
    assert named == {OWN, OWN.replace("http", "ws")}
    assert rules["frame-ancestors"] == "'self'"
    assert rules["default-src"].startswith("'self' ")


def test_a_body_that_is_too_large_or_of_unknown_size_is_refused_unread(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "LARGEST_BODY", 10)
    assert client.post("/", content=b"x" * 10).text == "in"
    refused = client.post("/", content=b"x" * 11)
    assert (refused.status_code, refused.text) == (413, "a request has at most 10 bytes\n")
    untold = client.post("/", content=iter([b"x"]))
    assert (untold.status_code, untold.text) == (411, "a request must tell its Content-Length\n")
    for size in ("-1", "1e3", "9" * 30, "0" * 30):
        assert client.post("/", headers={"Content-Length": size}).status_code == 413
