"""The Prefect server that is configured: whether it can be used, and patience while it restarts."""

import time
from collections.abc import Callable
from typing import TypeVar

from httpx import HTTPError, HTTPStatusError, TransportError
from prefect.client.orchestration import get_client
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.settings import PREFECT_API_URL

from soup.errors import BadInput

AWAY = 60.0  # seconds that a server may take to restart
Answer = TypeVar("Answer")


class PrefectError(BadInput, RuntimeError):
    """The Prefect server cannot be used; the message has its address."""


def require() -> None:
    """Check that the server at PREFECT_API_URL, if that is set, answers, knows us and fits.

    Raises:
        PrefectError: what is wrong, and what to set.
    """
    url = PREFECT_API_URL.value()
    if not url:
        return
    try:
        # Not entered: that would begin with a check whose errors say less.
        theirs = get_client(sync_client=True).api_version()
    except HTTPStatusError as error:
        if error.response.status_code in (401, 403):
            raise PrefectError(
                f"Prefect at {url} refuses the credentials; set PREFECT_API_AUTH_STRING to "
                "user:password (`make services` writes it to .services/env)"
            ) from None
        raise PrefectError(f"Prefect at {url} answers with {error.response}") from None
    except (HTTPError, OSError, ValueError) as error:
        raise PrefectError(
            f"Prefect at {url} does not answer ({error}); start it, correct PREFECT_API_URL, or "
            "unset it to run with a temporary server"
        ) from None
    same(url, theirs)


def same(url: str, theirs: str) -> None:
    """
    Raises:
        PrefectError: client and server are of different major versions.
    """
    from prefect import __version__ as ours

    if theirs.split(".", maxsplit=1)[0] != ours.split(".")[0]:
        raise PrefectError(
            f"Prefect at {url} is version {theirs}, and here is {ours}; both must be of one major "
            f"version: pip install 'prefect=={theirs}', or another server"
        )


def require_server(what: str) -> None:
    """As `require`, where a temporary server would not do.

    Args:
        what: needs a server.

    Raises:
        PrefectError: there is none, or it cannot be used.
    """
    if not PREFECT_API_URL.value():
        raise PrefectError(
            f"{what} needs a Prefect server that all hosts reach; start one (make services), "
            "and set PREFECT_API_URL to its address"
        )
    require()


def retry_while_restarting(ask: Callable[[], Answer]) -> Answer:
    """Ask a server that may be restarting, for a while; then raises what asking raises.

    What can be asked again may take hours: the while begins when it fails.
    """
    failed = None
    while True:
        begun = time.monotonic()
        try:
            return ask()
        except (TransportError, HTTPStatusError, ConcurrencySlotAcquisitionError) as error:
            if isinstance(error, HTTPStatusError) and error.response.status_code < 500:
                raise
            now = time.monotonic()
            if failed is None or now - begun > AWAY:
                failed = now
            if now - failed > AWAY:
                raise
            time.sleep(3)
