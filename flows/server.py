"""The Prefect server that hosts and sweeps share."""

import time
from collections.abc import Callable
from typing import TypeVar

import httpx
from prefect.client.orchestration import get_client
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.settings import PREFECT_API_URL

from soup.errors import BadInput

AWAY = 60.0  # seconds that a server may take to restart
Answer = TypeVar("Answer")


class ServerError(BadInput, RuntimeError):
    """The Prefect server cannot be used; the message has its address."""


def require_server(what: str) -> None:
    """See that a server is configured and answers.

    Args:
        what: needs it.

    Raises:
        ServerError: there is none, or it does not answer.
    """
    address = PREFECT_API_URL.value()
    if not address:
        raise ServerError(
            f"{what} needs a Prefect server that all hosts reach; start one (make ui), "
            "and set PREFECT_API_URL to its address"
        )
    with get_client(sync_client=True) as client:
        try:
            client.request("GET", "/health").raise_for_status()
            client.request("POST", "/work_pools/filter", json={"limit": 1}).raise_for_status()
        except httpx.HTTPStatusError as error:
            raise ServerError(
                f"Prefect at {address} answers with {error.response.status_code}; "
                "are the credentials (PREFECT_API_AUTH_STRING) right?"
            ) from None
        except httpx.HTTPError as error:
            raise ServerError(
                f"Prefect at {address} does not answer ({error}); "
                "start it, or set PREFECT_API_URL to where it is"
            ) from None


def patiently(ask: Callable[[], Answer]) -> Answer:
    """Ask a server that may be restarting, for a while; then raises what asking raises."""
    begun = time.monotonic()
    while True:
        try:
            return ask()
        except (httpx.HTTPError, ConcurrencySlotAcquisitionError):
            if time.monotonic() - begun > AWAY:
                raise
            time.sleep(3)
