"""A server for a webhook to tell."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Listener:
    """A server that keeps what it is sent, and behaves as told."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.answers: list[int] = []
        self.hang = self.trickle = False
        self.release = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/json"
                outer.heard.append(json.loads(body))
                if outer.trickle:
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                    while not outer.release.wait(0.05):
                        self.wfile.write(b"X: y\r\n")
                        self.wfile.flush()
                    return
                if outer.hang:
                    outer.release.wait(60)
                    return
                self.send_response(outer.answers.pop(0) if outer.answers else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}/services/T0/SECRET?token=SECRET"
