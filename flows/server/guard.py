"""Checks of Host, Origin and size in front of an ASGI application that has none.

A page of another site can make a browser send requests to a server on loopback, either under a host
name of that site (DNS rebinding) or with that site as Origin. Both are refused, for preflights and
WebSockets too, and whatever credentials the request has.
"""

import re
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost")
LARGEST_BODY = 32 << 20  # bytes; Prefect's clients send logs and events in parts of at most 4 MB


class OriginMiddleware:
    """Answers 403 to requests with a foreign Origin; programs send no Origin, and pass."""

    def __init__(self, app: ASGIApp, allowed: Collection[str]) -> None:
        self.app = app
        self.allowed = frozenset(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            origins = Headers(scope=scope).getlist("origin")
            if not self.allowed.issuperset(origins):
                refusal = PlainTextResponse(
                    "pages of this origin are refused; PREFECT_SERVER_CORS_ALLOWED_ORIGINS names "
                    "those that are not\n",
                    status_code=403,
                )
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)


class BodyMiddleware:
    """Refuses a body without reading it: 413 if it is too large, 411 if its size is not stated."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else {}
        size = headers.get("content-length", "0")
        if "transfer-encoding" in headers:
            refusal = PlainTextResponse("a request must tell its Content-Length\n", status_code=411)
            await refusal(scope, receive, send)
        elif not re.fullmatch("[0-9]{1,12}", size) or int(size) > LARGEST_BODY:
            told = f"a request has at most {LARGEST_BODY} bytes\n"
            await PlainTextResponse(told, status_code=413)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


class PolicyMiddleware:
    """Tells browsers to contact no other site, and to show the pages in no frame of other sites.

    Prefect's pages contact a visit counter before they read that this is switched off.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self.app = app
        asked = sorted(origins)
        sockets = [origin.replace("http", "ws", 1) for origin in asked]
        self.policy = (
            "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
            f"connect-src 'self' {' '.join(asked + sockets)} data: blob:; frame-ancestors 'self'"
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = self.policy
            await send(message)

        await self.app(scope, receive, tell if scope["type"] == "http" else send)


def guarded(app: ASGIApp, hosts: Collection[str], origins: Collection[str]) -> ASGIApp:
    """Put these checks and the policy in front of an application.

    Args:
        app: the application.
        hosts: allowed host names, without ports; requests under other names get 400.
        origins: scheme, host and port of allowed pages; requests of other pages get 403.
    """
    checked = OriginMiddleware(BodyMiddleware(PolicyMiddleware(app, origins)), origins)
    return TrustedHostMiddleware(checked, allowed_hosts=list(hosts), www_redirect=False)


def listed(value: str) -> list[str]:
    """The parts of a comma-separated list, without those with '*', which would allow everybody."""
    return [part for part in map(str.strip, value.split(",")) if part and "*" not in part]
