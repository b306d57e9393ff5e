"""A server that was never there is named at once; one that was there is waited for."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import mlflow
import pytest

from soup.tracking import server_check as module


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(mlflow.__version__.encode())

    def log_message(self, *_: object) -> None: ...


def serve(port: int = 0) -> HTTPServer:
    made = HTTPServer(("127.0.0.1", port), Answering)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    return made


def end(server: HTTPServer) -> None:
    server.shutdown()
    server.server_close()


def test_a_server_that_answered_before_may_be_away_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = serve()
    port = first.server_address[1]
    uri = f"http://127.0.0.1:{port}"
    module.answers(uri)
    end(first)
    again: list[HTTPServer] = []
    # It comes back while we wait.
    monkeypatch.setattr(module.time, "sleep", lambda _: again.append(serve(port)))
    module.answers(uri)
    assert len(again) == 1
    end(again[0])
    monkeypatch.setattr(module, "AWAY", 0)
    with pytest.raises(module.TrackingError, match="does not answer"):
        module.answers(uri)


def test_one_that_never_answered_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "sleep", lambda _: pytest.fail("it waits"))
    with pytest.raises(module.TrackingError, match=r"http://127\.0\.0\.1:9 does not answer"):
        module.answers("http://127.0.0.1:9")


def test_wrong_credentials_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve()
    uri = f"http://127.0.0.1:{server.server_address[1]}"
    module.answers(uri)
    monkeypatch.setattr(module.time, "sleep", lambda _: pytest.fail("it waits"))
    monkeypatch.setattr(Answering, "do_GET", lambda self: self.send_error(401))
    with pytest.raises(module.TrackingError, match="refuses the credentials"):
        module.answers(uri)
    end(server)
