"""Checks of Host, Origin and size before an ASGI application that makes none itself.

A page of another site can make a browser send requests to a server on loopback: under a host name
of that site (DNS rebinding), or as its own origin. Both are refused, preflights and WebSockets too,
whatever credentials come with them.
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
    """Answers 403 to what a page of another origin sends; programs send no Origin, and pass."""

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
    """Refuses a body unread that is too large, by 413, or does not tell its size, by 411."""

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
    """Tells browsers to load and ask nothing elsewhere, and to show pages in no frame elsewhere.

    Prefect's pages ask a service that counts visits before they know that this is switched off.
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
    """An application behind these checks, whose pages are told to stay with it.

    Args:
        app: the application.
        hosts: names, without ports, that it answers to; to others it answers 400.
        origins: scheme, host and port of the pages that it answers to; to others it answers 403.
    """
    checked = OriginMiddleware(BodyMiddleware(PolicyMiddleware(app, origins)), origins)
    return TrustedHostMiddleware(checked, allowed_hosts=list(hosts), www_redirect=False)


def listed(value: str) -> list[str]:
    """The parts of a list with commas, without '*', which would let in everybody."""
    return [part for part in map(str.strip, value.split(",")) if part and "*" not in part]
