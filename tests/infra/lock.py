"""What requirements.lock says."""

import re

from tests.checkouts import REPO


def versions() -> dict[str, str]:
    """Package to version; of a package with markers, the one for the oldest Python."""
    found: dict[str, str] = {}
    for line in (REPO / "requirements.lock").read_text().splitlines():
        pinned = re.match(r"([a-z0-9-]+)==([^ ]+)", line)
        if pinned:
            found.setdefault(pinned[1], pinned[2])
    return found
