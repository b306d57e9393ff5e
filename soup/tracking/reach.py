"""Whether a tracking server can be used."""

import time
import urllib.error
import urllib.request

from soup.errors import BadInput


class TrackingError(BadInput, RuntimeError):
    """The tracking server or registry cannot be used; the message has its address."""


class Damaged(TrackingError):
    """What a run keeps is missing or is not what was stored; the message names the file."""


def http(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


AWAY = 120.0  # seconds that a server may be away that has answered before
_answered: set[str] = set()


def answers(uri: str) -> None:
    """Check that a server is there; wait for one that was there before.

    MLflow's own client would try for minutes before it gives up on one that never was.

    Raises:
        TrackingError: it does not answer.
    """
    deadline = time.monotonic() + (AWAY if uri in _answered else 0)
    while error := _refusal(uri):
        if time.monotonic() >= deadline:
            raise error
        time.sleep(1)
    _answered.add(uri)


def _refusal(uri: str) -> TrackingError | None:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=10):
            return None
    except urllib.error.HTTPError as error:
        if error.code == 401:  # credentials are checked by the first real request
            return None
        return TrackingError(f"MLflow at {uri} answers with {error}")
    except (OSError, ValueError) as error:
        return TrackingError(
            f"MLflow at {uri} does not answer ({error}); "
            "start it, or set MLFLOW_TRACKING_URI to where it is"
        )
