"""Memory that is freed is not asked of the system again."""

import subprocess
import sys

import pytest

from tests.checkouts import REPO

PROGRAM = """
import ctypes, resource, runpy, sys

if sys.argv[1] == "keep":  # this module alone: the packages that it stands in take seconds
    runpy.run_path("soup/models/freed_memory.py")["keep_freed_memory"]()
libc = ctypes.CDLL(None)
libc.malloc.restype, size = ctypes.c_void_p, 64 << 20
libc.memset.argtypes, libc.free.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t), (
    ctypes.c_void_p,
)

def used():
    place = libc.malloc(size)
    libc.memset(place, 1, size)
    libc.free(place)

used()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    used()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(way: str) -> int:
    """Pages that the system has given while the same 64 MiB are used ten times."""
    command = [sys.executable, "-c", PROGRAM, way]
    ran = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True)
    return int(ran.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="of the GNU C library")
def test_what_is_freed_is_used_again() -> None:
    given_back, kept = faults("give back"), faults("keep")
    if given_back < 1000:
        pytest.skip("this C library keeps freed memory by itself")
    assert kept < given_back / 100
