"""An S3 that fails every third request, in a thread."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

Start = Callable[..., Any]
BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate</Message></Error>"


class EveryThird:
    """An application that answers every third request by 503, as a busy S3 does.

    Attributes:
        on: whether it does so now.
        failed: how many it answered so.
    """

    def __init__(self, application: Callable[[dict[str, Any], Start], Iterable[bytes]]) -> None:
        self._application = application
        self._requests = count(1)
        self._lock = threading.Lock()
        self.on, self.failed = True, 0

    def __call__(self, environment: dict[str, Any], start: Start) -> Iterable[bytes]:
        with self._lock:
            fails = self.on and next(self._requests) % 3 == 0
            self.failed += fails
        if not fails:
            return self._application(environment, start)
        environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
        start("503 Slow Down", [("Content-Type", "application/xml")])
        return [BUSY]


@contextmanager
def s3(bucket: str) -> Iterator[tuple[dict[str, str], EveryThird]]:
    """The environment in which MLflow reaches an S3 with an empty bucket, and what fails there."""
    import boto3
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    unreliable = EveryThird(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, unreliable, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.port}"
    known = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    reach = {name.upper(): value for name, value in known.items()}
    reach |= {"AWS_DEFAULT_REGION": "us-east-1", "MLFLOW_S3_ENDPOINT_URL": address}
    try:
        client = boto3.client("s3", region_name="us-east-1", endpoint_url=address, **known)
        client.create_bucket(Bucket=bucket)
        yield reach, unreliable
    finally:
        server.shutdown()
