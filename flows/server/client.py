"""The Prefect server that is configured: check that it can be used, retry while it restarts."""

import time
from collections.abc import Callable
from typing import TypeVar

from httpx import HTTPError, HTTPStatusError, TransportError
from prefect.client.orchestration import get_client
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.settings import PREFECT_API_URL

from soup.errors import BadInput

AWAY = 60.0  # seconds that a server may take to restart
PAUSE = 3.0  # seconds between two tries
Answer = TypeVar("Answer")


class PrefectError(BadInput, RuntimeError):
    """The Prefect server cannot be used; the message has its address."""


def require() -> None:
    """Check the server at PREFECT_API_URL, if that is set: does it answer, let us in, and fit?

    Raises:
        PrefectError: it does not; the message says what to set.
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
                "user:password (`make services` writes it to .services/env, `make deploy` to "
                ".cache/ui/env)"
            ) from None
        raise PrefectError(f"Prefect at {url} answers with {error.response}") from None
    except (HTTPError, OSError, ValueError) as error:
        raise PrefectError(
            f"Prefect at {url} does not answer ({error}); start it, correct PREFECT_API_URL, or "
            "unset it to run with a temporary server"
        ) from None
    same(url, theirs)


def same(url: str, theirs: str) -> None:
    """Check that client and server are of the same major version.

    Args:
        url: the server's.
        theirs: its version.

    Raises:
        PrefectError: they are not.
    """
    from prefect import __version__ as ours

    if theirs.split(".", maxsplit=1)[0] != ours.split(".")[0]:
        raise PrefectError(
            f"Prefect at {url} is version {theirs}, and here is {ours}; both must be of one major "
            f"version: pip install 'prefect=={theirs}', or another server"
        )


def require_server(what: str) -> None:
    """Check that a Prefect server is configured and can be used: a temporary one would not do.

    Args:
        what: name of what needs the server, for the message.

    Raises:
        PrefectError: none is configured, or it cannot be used.
    """
    if not PREFECT_API_URL.value():
        raise PrefectError(
            f"{what} needs a Prefect server that all hosts reach; start one (make services), "
            "and set PREFECT_API_URL to its address"
        )
    require()


def retry_while_restarting(request: Callable[[], Answer]) -> Answer:
    """Call `request`, retrying for 60 s while the Prefect server is unreachable.

    The window starts at the first failure, because a request (a whole stage) may itself run for
    hours. After it, the error of the last try is raised.
    """
    failed = None
    while True:
        begun = time.monotonic()
        try:
            return request()
        except (TransportError, HTTPStatusError, ConcurrencySlotAcquisitionError) as error:
            if isinstance(error, HTTPStatusError) and error.response.status_code < 500:
                raise
            now = time.monotonic()
            if failed is None or now - begun > AWAY:
                failed = now
            if now - failed > AWAY:
                raise
            time.sleep(PAUSE)
