"""Let the system write a file to its disk while more of it is computed."""

import ctypes
import sys
from collections.abc import Callable
from functools import cache

SYNC_FILE_RANGE_WRITE = 2  # of Linux: begin to write, and do not wait


@cache
def _sync_file_range() -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    function = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return function


def write_back(descriptor: int, start: int) -> None:
    """Begin to write a file's bytes from `start` on to the disk; nothing waits for them.

    Linux would begin after seconds, so that the call of `fsync` at the end has most of the file to
    wait for. Other systems, and file systems that cannot do it, begin when they like.
    """
    function = _sync_file_range()
    if function is not None:
        function(descriptor, start, 0, SYNC_FILE_RANGE_WRITE)
