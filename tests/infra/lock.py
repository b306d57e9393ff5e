"""What the files of pinned versions say."""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from tests.checkouts import REPO

MAIN = REPO / "requirements.lock"
OF_IMAGES = [REPO / "infra/server.lock", REPO / "infra/worker.lock"]


class Pin(NamedTuple):
    requirement: Requirement
    hashes: list[str]


@cache
def pins(file: Path = MAIN) -> list[Pin]:
    """A file's entries; raises where a line is neither a comment nor part of an entry."""
    found = []
    joined = file.read_text().replace("\\\n", " ")
    for line in joined.splitlines():
        if line.startswith("#"):
            continue
        requirement, *hashes = line.split(" --hash=")
        found.append(Pin(Requirement(requirement), [h.strip() for h in hashes]))
    return found


def versions() -> dict[str, str]:
    """Package to version; of a package with markers, the one for the oldest Python."""
    found: dict[str, str] = {}
    for pin in pins():
        [version] = re.findall(r"^==([^,*]+)$", str(pin.requirement.specifier))
        found.setdefault(pin.requirement.name, version)
    return found
