"""A server that was never there is named at once; one that was there is waited for."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from soup.tracking import TrackingError, reach


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def test_a_server_that_answered_before_may_be_away_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = HTTPServer(("127.0.0.1", 0), Healthy)
    place = server.server_address
    uri = f"http://127.0.0.1:{place[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    reach.answers(uri)
    server.shutdown()
    server.server_close()
    again: list[HTTPServer] = []

    def slept(_: float) -> None:  # it comes back while we wait
        again.append(HTTPServer(("127.0.0.1", place[1]), Healthy))
        threading.Thread(target=again[0].serve_forever, daemon=True).start()

    monkeypatch.setattr(reach.time, "sleep", slept)
    reach.answers(uri)
    assert len(again) == 1
    again[0].shutdown()
    again[0].server_close()
    monkeypatch.setattr(reach, "AWAY", 0)
    with pytest.raises(TrackingError, match="does not answer"):
        reach.answers(uri)
