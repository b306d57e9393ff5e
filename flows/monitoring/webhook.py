"""Tell a webhook of success, failure and promotion; a run never fails or hangs because of it.

MODELSOUP_WEBHOOK is its address. What is sent has a `text`, so that Slack, Mattermost and the like
take it as it is.
"""

import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from soup.errors import without_password

ADDRESS = "MODELSOUP_WEBHOOK"
TIMEOUT = 10.0  # seconds to answer
TRIES = 2
Event = Literal["success", "failure", "promotion"]


def notify(
    event: Event,
    text: str,
    say: Callable[[str], None],
    links: Mapping[str, str] | None = None,
    figures: Mapping[str, Any] | None = None,
) -> bool:
    """Post {event, text, links, figures}, if there is an address to post to.

    Args:
        event: what happened.
        text: the same, for people.
        say: is told what did not work.
        links: addresses by name.
        figures: values by name.

    Returns:
        Whether the webhook took it.
    """
    address = os.environ.get(ADDRESS, "")
    if not address:
        return False
    body = {"event": event, "text": text, "links": links or {}, "figures": figures or {}}
    message = without_password(json.dumps(body, default=str)).encode()
    problem = ""
    for _ in range(TRIES):
        problem, again = _in_time(address, message)
        if not again:
            break
    if problem:
        say(f"webhook {shown(address)} was not told of the {event}: {problem}")
    return not problem


def shown(address: str) -> str:
    """An address without all that may be secret in it: its scheme, host and port."""
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}/..."
    except ValueError:
        return "(no address)"


def _in_time(address: str, body: bytes) -> tuple[str, bool]:
    """Post from a thread: a server that answers a byte at a time never meets a socket's timeout.

    Returns:
        What went wrong, '' if nothing, and whether another try may help.
    """
    outcome = (f"no answer within {TIMEOUT:.0f} s", True)

    def work() -> None:
        nonlocal outcome
        outcome = _post(address, body)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(TIMEOUT + 1)
    return outcome


def _post(address: str, body: bytes) -> tuple[str, bool]:
    headers = {"Content-Type": "application/json", "User-Agent": "modelsoup"}
    try:
        if urlsplit(address).scheme not in ("http", "https"):
            return f"{ADDRESS} is no http(s) address", False
        request = urllib.request.Request(address, body, headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT):
            return "", False
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}", error.code >= 500 or error.code == 429
    except TimeoutError:
        return f"no answer within {TIMEOUT:.0f} s", True
    except (OSError, ValueError) as error:
        # The reason alone: an error's text may hold the address.
        reason = getattr(error, "reason", None)
        return f"{type(reason or error).__name__}", isinstance(error, OSError)
    except Exception as error:  # http.client's, of what is no HTTP: it must not break a run
        return type(error).__name__, True
