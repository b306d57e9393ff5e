"""The HTTP side of `soup serve`: /invocations, /ping, /health and /version, within limits.

When the server is full, a request gets 503 with Retry-After at once, and its body is not read. By
DNS rebinding, a page of another site can make a browser send requests here under a host name of
that site; so requests under host names that are not allowed are refused. To send JSON to another
site, a page needs the answer to a preflight request, and this server answers none.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from soup.serving.batching import Batcher
from soup.serving.open_classifier import AnyClassifier
from soup.serving.protocol import Limits, Refusal

logger = logging.getLogger("soup.serving")
PROTOCOL = "3.17.2"  # the version of MLflow that is reported if MLflow is not installed
RETRY = {"retry-after": "1"}  # seconds
JSON = "application/json"


def application(
    classifier: AnyClassifier,
    limits: Limits,
    hosts: Sequence[str],
) -> Starlette:
    """Make the application of one process.

    Args:
        hosts: names by which clients may call the server, without port.
    """
    batcher = Batcher(classifier, limits)
    requests = _Invocations(batcher, limits, classifier.noun)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        batcher.start()
        yield
        await asyncio.to_thread(batcher.stop)

    app = Starlette(
        routes=[
            Route("/invocations", requests, methods=["POST"]),
            Route("/ping", _healthy),
            Route("/health", _healthy),
            Route("/version", _version),
        ],
        middleware=[
            Middleware(_Logged),
            Middleware(TrustedHostMiddleware, allowed_hosts=[*hosts], www_redirect=False),
        ],
        exception_handlers={Refusal: _refused},
        lifespan=lifespan,
    )
    app.state.invocations = requests
    return app


class _Invocations:
    """Reads a request if the limits allow, and passes it to the batcher.

    Attributes:
        waiting: number of requests that wait for an answer.
    """

    def __init__(self, batcher: Batcher, limits: Limits, noun: str) -> None:
        self._batcher, self._limits, self._noun = batcher, limits, noun
        self.waiting = self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            response = await self._answer(request)
        except Refusal as refusal:
            response = await _refused(request, refusal)
        except ClientDisconnect:
            scope["state"]["note"] = ", the client is gone"
            return
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method != "POST":
            raise Refusal(405, "send a POST request", {"allow": "POST"})
        _require_json(request.headers.get("content-type", ""))
        self._require_size(request)
        taken: list[int] = []
        try:
            self._require_room()
            body = await self._read(request, taken)
            self._require_room()
            self.waiting += 1
            try:
                answer = self._batcher.answer(body)
                del body  # the batcher keeps the body only until it is parsed
                answered = await answer
            finally:
                self.waiting -= 1
        finally:
            self._bytes -= sum(taken)
        request.scope["state"]["note"] = (
            f", {answered.entries} {self._noun}, {answered.refused} refused"
        )
        return Response(answered.body, media_type=JSON)

    def _require_size(self, request: Request) -> None:
        try:
            size = int(request.headers.get("content-length", 0))
        except ValueError:
            raise Refusal(400, "Content-Length is no number") from None
        if size > self._limits.body:
            raise self._too_large()

    def _require_room(self, more: int = 0) -> None:
        if self.waiting >= self._limits.waiting or self._bytes + more > self._limits.held:
            raise Refusal(503, "the server is busy: try again in a second", RETRY)

    async def _read(self, request: Request, taken: list[int]) -> bytes:
        """Read the body of a request; count the bytes that arrived, not those announced.

        Args:
            taken: receives the size in bytes of each part that was counted.
        """
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._limits.seconds):
                async for part in request.stream():
                    size += len(part)
                    if size > self._limits.body:
                        raise self._too_large()
                    self._require_room(len(part))
                    self._bytes += len(part)
                    taken.append(len(part))
                    parts.append(part)
        except TimeoutError:
            raise Refusal(
                408, f"the request did not arrive within {self._limits.seconds:g} s"
            ) from None
        return b"".join(parts)

    def _too_large(self) -> Refusal:
        limit = f"{self._limits.body / (1 << 20):g} MiB"
        return Refusal(
            413, f"the request is larger than {limit}; send fewer or smaller {self._noun}"
        )


def _require_json(content_type: str) -> None:
    kind, *parameters = [part.strip().lower() for part in content_type.split(";")]
    if kind != JSON:
        raise Refusal(415, f"send {JSON}, not {kind[:100] or 'a body without Content-Type'}")
    if any(parameter.replace('"', "") != "charset=utf-8" for parameter in parameters):
        raise Refusal(415, "send UTF-8")


async def _healthy(_request: Request) -> Response:
    return Response("\n", media_type=JSON)


async def _version(_request: Request) -> Response:
    """The version of MLflow whose protocol this is, in the form of MLflow's server."""
    try:
        return Response(version("mlflow"), media_type=JSON)
    except PackageNotFoundError:
        return Response(PROTOCOL, media_type=JSON)


async def _refused(_request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    return Response(refusal.body(), refusal.status, dict(refusal.headers), JSON)


class _Logged:
    """Logs a line for each request: time, client, path, status, duration; never its content."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began = 499, time.perf_counter()  # 499: no answer was sent
        scope.setdefault("state", {})["note"] = ""

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            client = (scope.get("client") or ("-",))[0]
            path = scope.get("raw_path", b"").decode("ascii", "replace")[:100]
            took = 1000 * (time.perf_counter() - began)
            note = scope["state"]["note"]
            logger.info("%s %s %s %d %.1f ms%s", client, scope["method"], path, status, took, note)
