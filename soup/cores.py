"""The cores that this process was given, which may be fewer than the machine has."""

import os
from collections.abc import Iterator
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def cores() -> int:
    """The number of cores that this process may use, by its affinity and its cgroups' quotas.

    At least one: a quota of half a core is one core that is often paused.
    """
    try:
        available = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        available = os.cpu_count() or 1
    return min([available, *(max(1, quota // period) for quota, period in _quotas())])


def _quotas() -> Iterator[tuple[int, int]]:
    """Microseconds of computation, and in how many microseconds they may be used."""
    for files in _files():
        try:
            quota, period = map(int, " ".join(file.read_text() for file in files).split())
        except (OSError, ValueError):  # 'max', or another version of cgroups
            continue
        if quota > 0 and period > 0:
            yield quota, period


def _files() -> Iterator[list[Path]]:
    """Where a quota may be: a container's own at the root, a service's in its group or above."""
    yield [CGROUP / "cpu.max"]
    yield [CGROUP / "cpu" / f"cpu.cfs_{part}_us" for part in ("quota", "period")]
    try:
        lines = MEMBERSHIP.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, _, group = line.partition("::")
        if number != "0":  # of version 2 there is one line, '0::/group/of/groups'
            continue
        folder = CGROUP / group.lstrip("/")
        for above in (folder, *folder.parents):
            if above == CGROUP or CGROUP not in above.parents:
                break
            yield [above / "cpu.max"]
