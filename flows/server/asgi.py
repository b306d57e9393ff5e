"""Prefect's server behind a check of the Host header, which Prefect does not check itself.

By DNS rebinding, a page of another site can make a browser send requests to a server on loopback,
under a host name of that site. Such a request is refused, whatever credentials come with it.

    uvicorn flows.server.asgi:app --port 4200
"""

import os

os.environ.setdefault("PREFECT__SERVER_FINAL", "1")  # as `prefect server start` sets it

from prefect.server.api.server import create_app
from starlette.middleware.trustedhost import TrustedHostMiddleware

HOSTS = ("127.0.0.1", "localhost")

app = TrustedHostMiddleware(create_app(), allowed_hosts=HOSTS)
