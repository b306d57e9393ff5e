"""Where a benchmark ran, in a line; without it a figure means nothing."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]


def machine() -> str:
    """Cores, processor, versions, and the commit (with a + where the working tree differs)."""
    git = ["git", "-C", str(REPO), "describe", "--always", "--exclude=*", "--dirty=+"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return (
        f"{len(os.sched_getaffinity(0))} cores of {_processor()}, Python "
        f"{platform.python_version()}, torch {version('torch')}, commit {commit or 'unknown'}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
