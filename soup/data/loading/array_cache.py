"""A disk cache of arrays, mapped into memory, with a size limit for all of them together.

A process that maps an array holds a shared lock (`flock`) on its file, which the kernel releases
when the last map is gone or the process ends. To make room, the array used longest ago that can be
locked exclusively is removed, so that no array in use is. A process that computes an array holds a
lock of the array's name, on which other processes wait that want the same array. Without `flock`
(Windows) nothing is removed, and two processes may compute the same array at the same time.

filelock's locks do not suffice: its read-write lock (SQLite) is released by an explicit call and
not by the end of a map, a forked process loses it, and on Unix the files of its locks stay.
"""

import logging
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from soup.files import atomic_write

if sys.platform != "win32":
    import fcntl

DEFAULT_CACHE_GIB = 8.0  # what `params.Compute` has as its default
Blocks = Callable[[], Iterator[NDArray[Any]]]
_log = logging.getLogger(__name__)


def kept(
    file: Path, count: int, blocks: Blocks, gib: float = DEFAULT_CACHE_GIB, otherwise: str = ""
) -> NDArray[Any] | None:
    """The array in `file`, mapped into memory; computed first if it is missing or incomplete.

    Args:
        file: 'NAME.npy', where NAME is a digest of what decides the array's content.
        count: length of the array's first axis.
        blocks: yields the array from its start, in parts along the first axis; called only if the
            array has to be computed, and by one process at a time.
        gib: the most that all arrays of the folder may take together, GiB.
        otherwise: what the caller does if there is no room; logged as a warning.

    Returns:
        The array (writes to it stay private to the process), or None if there is no room for it
        beside the arrays in use.

    Raises:
        OSError: the disk is full or refuses the write; no file is left.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    array = _opened(file, count)
    if array is not None:
        return array
    with _exclusive_lock(file.with_suffix(".lock")):
        array = _opened(file, count)
        if array is not None:
            return array
        if file.exists():
            _log.warning("%s is damaged and is made again", file)
            with _exclusive_lock(file.parent / ".lock"):
                file.unlink()
        return _computed(file, count, blocks(), gib, otherwise)


def _opened(file: Path, count: int) -> NDArray[Any] | None:
    """The array, if its file is there and complete."""
    try:
        with file.open("rb") as raw:
            _lock(raw, shared=True)
            if os.fstat(raw.fileno()).st_nlink == 0:  # removed before it was locked
                return None
            array = _mapped(raw, count)
    except (FileNotFoundError, ValueError):
        return None
    if array is not None:
        os.utime(file)
    return array


def _computed(
    file: Path, count: int, blocks: Iterator[NDArray[Any]], gib: float, otherwise: str
) -> NDArray[Any] | None:
    first = next(blocks)
    header = np.lib.format.header_data_from_array_1_0(first)
    header["shape"] = (count, *first.shape[1:])
    size = count * math.prod(first.shape[1:]) * first.itemsize
    with ExitStack() as until_mapped:
        with ExitStack() as until_written:
            with _exclusive_lock(file.parent / ".lock"):
                if not _room(file.parent, size, int(gib * 2**30)):
                    if otherwise:
                        _log.warning(
                            "%.3g GiB have no room in %s, where compute.cache_gib allows %.3g and "
                            "some may be in use: %s; raise compute.cache_gib to keep them",
                            *(size / 2**30, file.parent, gib, otherwise),
                        )
                    return None
                aside = until_written.enter_context(atomic_write(file))
                guard = until_mapped.enter_context(aside.open("rb"))
                _lock(guard, shared=False)
            # Written in order, not through a map: a full disk is then an error, not a bus error.
            with aside.open("wb") as out:
                os.truncate(aside, size)  # other processes count this size from now on
                np.lib.format.write_array_header_1_0(out, header)
                out.write(np.ascontiguousarray(first).tobytes())
                for block in blocks:
                    out.write(np.ascontiguousarray(block).tobytes())
        with _exclusive_lock(file.parent / ".lock"):
            _lock(guard, shared=True)
            return _mapped(guard, count)


def _mapped(raw: BinaryIO, count: int) -> NDArray[Any] | None:
    """A map of an open file, which keeps the file's lock; None if the file's length is wrong."""
    version = np.lib.format.read_magic(raw)
    if version != (1, 0):
        return None
    shape, _, dtype = np.lib.format.read_array_header_1_0(raw)
    start = raw.tell()
    size = start + math.prod(shape) * dtype.itemsize
    if shape[0] != count or os.fstat(raw.fileno()).st_size != size:
        return None
    return np.memmap(raw, dtype, "c", start, shape)


def _room(folder: Path, size: int, limit: int) -> bool:
    """Whether so many bytes fit, after the removal of the arrays used longest ago."""
    files = []
    for path in folder.glob("*.npy"):  # includes arrays being written, whose names are hidden
        with suppress(FileNotFoundError):  # it was finished or given up at this moment
            stat = path.stat()
            files.append((not path.name.startswith("."), stat.st_mtime_ns, stat.st_size, path))
    total = sum(taken for *_, taken, _ in files)
    with ExitStack() as stack:
        evicted = []
        # Incomplete files of killed processes go first; those of living processes are locked.
        for complete, _, taken, path in sorted(files):
            if size > limit or (complete and total + size <= limit):
                break
            with suppress(FileNotFoundError):
                if _lock(stack.enter_context(path.open("rb")), shared=False, wait=False):
                    evicted.append(path)
                    total -= taken
        if total + size > limit:
            return False
        for path in evicted:
            path.unlink(missing_ok=True)
    return True


def _lock(file: BinaryIO, shared: bool, wait: bool = True) -> bool:
    """Lock an open file until its last copy and map are closed; False if it is locked already."""
    if sys.platform == "win32":
        return wait
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, how if wait else how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _exclusive_lock(path: Path) -> Iterator[None]:
    """A lock among processes and threads; the last holder removes the file."""
    while True:
        with path.open("ab") as file:
            _lock(file, shared=False)
            try:
                current = os.fstat(file.fileno()).st_ino == path.stat().st_ino
            except FileNotFoundError:
                current = False
            if current:  # else the holder before removed the file that was locked here
                try:
                    yield
                finally:
                    if sys.platform != "win32":
                        path.unlink()
                return
