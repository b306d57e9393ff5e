"""The proxy's configuration in a real nginx, before servers that say what they were asked."""

import getpass
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.checkouts import REPO
from tests.servers import free_port

NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
pytestmark = [
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]
PORTS = {"mlflow": 5000, "prefect": 4200, "grafana": 3000}


class Answering(BaseHTTPRequestHandler):
    """Tells who it is and what headers came."""

    def do_GET(self) -> None:
        said = json.dumps({"port": self.server.server_port, "headers": dict(self.headers)})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(said.encode())

    def do_PUT(self) -> None:
        left, read = int(self.headers["Content-Length"]), 0
        while read < left:
            read += len(self.rfile.read(min(1 << 20, left - read)))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(read).encode())

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[int, int]]]:
    """Port of the proxy and port of the server behind it, by the server's name."""
    root = tmp_path_factory.mktemp("proxy")
    shutil.copytree(REPO / "infra", root / "infra", ignore=shutil.ignore_patterns("tls"))
    shutil.copy(REPO / ".env.example", root)
    subprocess.run(
        ["bash", "infra/secrets.sh", "soup.example"], cwd=root, check=True, capture_output=True
    )
    servers = {name: ThreadingHTTPServer(("127.0.0.1", 0), Answering) for name in PORTS}
    for server in servers.values():
        threading.Thread(target=server.serve_forever, daemon=True).start()
    outside = {name: free_port() for name in PORTS}
    site = (REPO / "infra/proxy/default.conf.template").read_text()
    for old, new in {
        "${PUBLIC_HOST}": "soup.example",
        "/etc/nginx/tls": str(root / "infra/proxy/tls"),
        "127.0.0.1:8081": f"127.0.0.1:{free_port()}",
        **{f"{n}:{p};": f"127.0.0.1:{servers[n].server_port};" for n, p in PORTS.items()},
        **{f"listen {p} ": f"listen 127.0.0.1:{outside[n]} " for n, p in PORTS.items()},
    }.items():
        assert old in site
        site = site.replace(old, new)
    (root / "site.conf").write_text(site)
    paths = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{name}_temp_path {root}/{name};" for name in paths)
    (root / "nginx.conf").write_text(
        f"pid {root}/pid; error_log stderr; daemon off; user {getpass.getuser()}; events {{}}\n"
        f"http {{ access_log off; {temporary} include {root}/site.conf; }}"
    )
    assert NGINX
    running = subprocess.Popen([NGINX, "-c", str(root / "nginx.conf")], start_new_session=True)
    for port in outside.values():
        while running.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
    assert running.poll() is None, "nginx refuses its configuration"
    yield {name: (outside[name], servers[name].server_port) for name in PORTS}
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    for server in servers.values():
        server.shutdown()


def ask(
    port: int, path: str = "/", host: str = "soup.example", method: str = "GET", **more: object
) -> tuple[int, bytes]:
    """By TLS, as `host`; the certificate is one we made ourselves."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # reads no certificates of the system
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=trusting, timeout=60)
    headers = {"Host": f"{host}:{port}", **more.pop("headers", {})}  # type: ignore[dict-item]
    connection.request(method, path, headers=headers, **more)  # type: ignore[arg-type]
    answer = connection.getresponse()
    return answer.status, answer.read()


@pytest.mark.parametrize("name", PORTS)
def test_each_port_leads_to_its_server_which_knows_how_it_was_called(
    doors: dict[str, tuple[int, int]], name: str
) -> None:
    outside, inside = doors[name]
    status, body = ask(outside, "/some/page?a=1")
    assert status == 200
    said = json.loads(body)
    assert said["port"] == inside
    assert said["headers"]["Host"] == f"soup.example:{outside}"
    assert said["headers"]["X-Forwarded-Proto"] == "https"


@pytest.mark.parametrize("name", PORTS)
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "soup.example.evil.example"])
def test_a_forged_host_gets_no_further(
    doors: dict[str, tuple[int, int]], name: str, host: str
) -> None:
    assert ask(doors[name][0], host=host)[0] == 421


def test_without_tls_there_is_no_answer(doors: dict[str, tuple[int, int]]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", doors["mlflow"][0], timeout=60)
    connection.request("GET", "/", headers={"Host": "soup.example"})
    assert connection.getresponse().status == 400


@pytest.mark.parametrize("name", PORTS)
def test_pages_of_other_sites_get_no_further(doors: dict[str, tuple[int, int]], name: str) -> None:
    port = doors[name][0]
    own = f"https://soup.example:{port}"
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
    for origin in (
        "https://evil.example",
        "null",
        "https://soup.example",
        f"http://soup.example:{port}",
        f"{own}.evil.example",
        f"https://evil.example {own}",
        f"https://soup.example:{port + 1}",
    ):
        for method, more in (("GET", {}), ("OPTIONS", {}), ("PUT", {}), ("GET", upgrade)):
            headers = {"Origin": origin, **more}
            assert ask(port, "/api/events/in", method=method, headers=headers)[0] == 403, origin
    for origin in (own, ""):
        assert ask(port, "/page", headers={"Origin": origin, **upgrade})[0] == 200


@pytest.mark.parametrize(
    ("name", "path"), [("mlflow", "/metrics"), ("prefect", "/api/metrics"), ("grafana", "/metrics")]
)
def test_metrics_are_not_for_the_world(
    doors: dict[str, tuple[int, int]], name: str, path: str
) -> None:
    for asked in (path, f"{path}/", f"/{path}", f"{path}?a=1", f"/x/..{path}", f"{path[:-1]}%73"):
        assert ask(doors[name][0], asked)[0] == 404, asked
    assert ask(doors[name][0], f"{path}-of-mine")[0] == 200


def test_weights_of_any_size_pass(doors: dict[str, tuple[int, int]]) -> None:
    weights = bytes(8 << 20)
    status, body = ask(doors["mlflow"][0], "/artifact", method="PUT", body=weights)
    assert (status, int(body)) == (200, len(weights))


def test_events_of_prefect_can_open_a_websocket(doors: dict[str, tuple[int, int]]) -> None:
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
    _, body = ask(doors["prefect"][0], "/api/events/out", headers=upgrade)
    headers = json.loads(body)["headers"]
    assert (headers["Upgrade"], headers["Connection"]) == ("websocket", "upgrade")
    assert json.loads(ask(doors["prefect"][0])[1])["headers"].get("Connection") != "upgrade"
