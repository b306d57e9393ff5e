"""What a real server answers to pages of other sites: to another Origin, to another Host."""

import http.client
import json
import socket

from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from tests.flows.served import basic

FOREIGN = "https://evil.example"
SOCKETS = ("events/in", "events/out", "logs/out")
SEARCH = "/api/2.0/mlflow/experiments/search"
ALLOWS = "access-control-allow-origin"


def asked(
    port: int, path: str, method: str = "GET", credentials: str = "", **headers: str
) -> tuple[int, dict[str, str]]:
    """Status and headers, their names in small letters.

    Args:
        headers: dashes of their names as underscores.
    """
    sent = {name.replace("_", "-"): value for name, value in headers.items()} | basic(credentials)
    # What a page may send without asking first, whatever the server takes it for.
    body = json.dumps({"limit": 1, "max_results": 1}) if method == "POST" else None
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, {"Content-Type": "text/plain", **sent})
        answer = connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


def handshake(port: int, path: str, host: str = "", origin: str | None = None) -> int:
    """Status of a WebSocket's handshake with Prefect: 101 if it is opened."""
    named = host or f"127.0.0.1:{port}"
    try:
        with connect(
            f"ws://{named}/api/{path}",
            sock=socket.create_connection(("127.0.0.1", port)),
            origin=None if origin is None else Origin(origin),
            subprotocols=[Subprotocol("prefect")],
            open_timeout=60,
        ):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


def preflight(port: int, path: str, origin: str) -> tuple[int, dict[str, str]]:
    wanted = {
        "Access_Control_Request_Method": "POST",
        "Access_Control_Request_Headers": "content-type",
    }
    return asked(port, path, "OPTIONS", Origin=origin, **wanted)


def prefect_refuses_strangers(port: int, credentials: str = "") -> None:
    """Check Prefect's server on loopback: foreign pages are refused with right credentials too."""
    version, runs = "/api/admin/version", "/api/flow_runs/filter"
    for own in (f"http://127.0.0.1:{port}", f"http://localhost:{port}"):
        status, headers = asked(port, version, credentials=credentials, Origin=own)
        assert (status, headers[ALLOWS]) == (200, own)
        status, headers = preflight(port, runs, own)
        assert (status, headers[ALLOWS]) == (200, own)
        assert [handshake(port, path, origin=own) for path in SOCKETS] == [101] * len(SOCKETS)
    assert asked(port, version, credentials=credentials)[0] == 200
    for foreign in (FOREIGN, "null", f"http://127.0.0.1:{port + 1}", f"https://127.0.0.1:{port}"):
        for path in ("/", "/ui-settings", "/api/health", version, "/api/metrics"):
            status, headers = asked(port, path, credentials=credentials, Origin=foreign)
            assert (status, headers.get(ALLOWS)) == (403, None), (path, foreign)
        status, headers = asked(port, runs, "POST", credentials, Origin=foreign)
        assert (status, headers.get(ALLOWS)) == (403, None), foreign
        status, headers = preflight(port, runs, foreign)
        assert (status, headers.get(ALLOWS)) == (403, None), foreign
        assert [handshake(port, path, origin=foreign) for path in SOCKETS] == [403] * len(SOCKETS)
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example"):
        for path in ("/", "/ui-settings", "/api/health", version):
            assert asked(port, path, credentials=credentials, Host=host)[0] == 400, (path, host)
        assert asked(port, runs, "POST", credentials, Host=host)[0] == 400
        assert [handshake(port, path, host=host) for path in SOCKETS] == [400] * len(SOCKETS)


def prefect_wants_a_password(port: int, credentials: str) -> None:
    """Check Prefect's server: nothing but its health is told to who has none or a wrong one."""
    for path in ("/api/admin/version", "/api/admin/settings", "/api/work_pools/local"):
        for wrong in ("", "modelsoup:", "modelsoup:wrong", credentials[:-1]):
            assert asked(port, path, credentials=wrong)[0] == 401, (path, wrong)
    assert asked(port, "/api/flow_runs/filter", "POST")[0] == 401
    assert asked(port, "/api/admin/version", credentials=credentials)[0] == 200


def mlflow_refuses_strangers(port: int, credentials: str = "") -> None:
    """Check MLflow on loopback, whose own middleware lets foreign pages ask but neither read nor
    change anything."""
    post = "/api/2.0/mlflow/experiments/search"
    assert asked(port, f"{SEARCH}?max_results=1", credentials=credentials)[0] == 200
    for foreign in (FOREIGN, "null"):
        assert asked(port, post, "POST", credentials, Origin=foreign)[0] == 403
        for path in (f"{SEARCH}?max_results=1", "/version", "/"):
            _, headers = asked(port, path, credentials=credentials, Origin=foreign)
            assert ALLOWS not in headers, (path, foreign)
        status, headers = preflight(port, post, foreign)
        assert status in (400, 401, 403)
        assert ALLOWS not in headers
    for host in ("evil.example", f"evil.example:{port}", f"127.0.0.1:{port + 1}"):
        for path in ("/", f"{SEARCH}?max_results=1"):
            assert asked(port, path, credentials=credentials, Host=host)[0] == 403, (path, host)
