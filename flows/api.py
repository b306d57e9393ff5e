"""The Prefect server that is configured, asked before a flow run is begun."""

from httpx import HTTPError, HTTPStatusError
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

from soup.errors import BadInput


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
