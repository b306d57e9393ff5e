"""Prefect's server behind checks of the Host and Origin headers, of which it makes none itself.

    PREFECT_SERVER_API_PORT=4200 uvicorn flows.server.asgi:app --port 4200

MODELSOUP_PREFECT_HOSTS: host names to answer to beside those of loopback, with commas between them.
PREFECT_SERVER_CORS_ALLOWED_ORIGINS: origins to answer to; unless set, the server's own on loopback.
"""

import os

os.environ.setdefault("PREFECT__SERVER_FINAL", "1")  # as `prefect server start` sets it

from prefect.server.api.server import create_app
from prefect.settings import (
    PREFECT_HOME,
    PREFECT_SERVER_API_PORT,
    PREFECT_SERVER_CORS_ALLOWED_ORIGINS,
    PREFECT_SERVER_UI_STATIC_DIRECTORY,
    temporary_settings,
)

from flows.server.guard import LOOPBACK, guarded, listed

hosts = [*LOOPBACK, *listed(os.environ.get("MODELSOUP_PREFECT_HOSTS", ""))]
own = [f"http://{host}:{PREFECT_SERVER_API_PORT.value()}" for host in LOOPBACK]
origins = listed(PREFECT_SERVER_CORS_ALLOWED_ORIGINS.value()) or own
# Prefect copies its pages before it serves them, by default into the environment.
pages = PREFECT_SERVER_UI_STATIC_DIRECTORY.value() or str(PREFECT_HOME.value() / "pages")
with temporary_settings(
    {
        PREFECT_SERVER_CORS_ALLOWED_ORIGINS: ",".join(origins),
        PREFECT_SERVER_UI_STATIC_DIRECTORY: pages,
    }
):
    app = guarded(create_app(), hosts, origins)
