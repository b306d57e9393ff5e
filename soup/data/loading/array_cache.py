"""Arrays that can be made again, kept on disk, mapped into memory, within a limit for all of them.

Who maps an array holds a shared lock on its file (`flock`, which the kernel gives back when the
last map or the process ends), and only what can be locked alone is removed: never one in use, and
of the others the one that was asked for longest ago. Who makes an array holds a lock of its name,
on which others wait that want the same. Without `flock` (Windows) nothing is removed, and two who
ask at once may make the same array twice.
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
    """The array in `file`, mapped, made first if it is not there or is not whole.

    Args:
        file: 'NAME.npy', where NAME is a digest of what is in it.
        count: length of the array's first axis.
        blocks: the array from its start in parts along the first axis, all alike but in length;
            called only if it has to be made, and by one process at a time.
        gib: what all arrays of the folder may take.
        otherwise: what is done if it has no room, which is then said.

    Returns:
        The array (writes to it stay private), or None if it has no room beside those in use.

    Raises:
        OSError: the disk is full, or refuses; nothing is left.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    found = _opened(file, count)
    if found is not None:
        return found
    with _exclusive_lock(file.with_suffix(".lock")):
        found = _opened(file, count)
        if found is None and file.exists():
            _log.warning("%s is damaged and is made again", file)
            with _exclusive_lock(file.parent / ".lock"):
                file.unlink()
        return _made(file, count, blocks(), gib, otherwise) if found is None else found


def _opened(file: Path, count: int) -> NDArray[Any] | None:
    """The array, if it is there and whole."""
    try:
        with file.open("rb") as raw:
            _lock(raw, shared=True)
            if os.fstat(raw.fileno()).st_nlink == 0:  # removed before the lock was there
                return None
            found = _mapped(raw, count)
    except (FileNotFoundError, ValueError):
        return None
    if found is not None:
        os.utime(file)
    return found


def _made(
    file: Path, count: int, blocks: Iterator[NDArray[Any]], gib: float, otherwise: str
) -> NDArray[Any] | None:
    first = next(blocks)
    header = np.lib.format.header_data_from_array_1_0(first)
    header["shape"] = (count, *first.shape[1:])
    size = count * math.prod(first.shape[1:]) * first.itemsize
    with ExitStack() as until_mapped:
        with ExitStack() as until_whole:
            with _exclusive_lock(file.parent / ".lock"):
                if not _room(file.parent, size, int(gib * 2**30)):
                    if otherwise:
                        _log.warning(
                            "%.3g GiB have no room in %s, where compute.cache_gib allows %.3g and "
                            "some may be in use: %s; raise compute.cache_gib to keep them",
                            *(size / 2**30, file.parent, gib, otherwise),
                        )
                    return None
                aside = until_whole.enter_context(atomic_write(file))
                guard = until_mapped.enter_context(aside.open("rb"))
                _lock(guard, shared=False)
            # Written in order, not through a map: a full disk is then an error, not a bus error.
            with aside.open("wb") as out:
                os.truncate(aside, size)  # which others count from now on
                np.lib.format.write_array_header_1_0(out, header)
                out.write(np.ascontiguousarray(first).tobytes())
                for block in blocks:
                    out.write(np.ascontiguousarray(block).tobytes())
        with _exclusive_lock(file.parent / ".lock"):
            _lock(guard, shared=True)
            return _mapped(guard, count)


def _mapped(raw: BinaryIO, count: int) -> NDArray[Any] | None:
    """A map of an open file, which keeps the file's lock, or None if its length is not right."""
    version = np.lib.format.read_magic(raw)
    if version != (1, 0):
        return None
    shape, _, dtype = np.lib.format.read_array_header_1_0(raw)
    at = raw.tell()
    if (
        shape[0] != count
        or os.fstat(raw.fileno()).st_size != at + math.prod(shape) * dtype.itemsize
    ):
        return None
    return np.memmap(raw, dtype, "c", at, shape)


def _room(folder: Path, size: int, limit: int) -> bool:
    """Whether so many bytes fit, after the removal of what was not asked for longest."""
    found = []
    for path in folder.glob("*.npy"):  # those that are being made too, whose names are hidden
        with suppress(FileNotFoundError):  # it was finished or given up at this moment
            found.append((not path.name.startswith("."), path.stat().st_mtime_ns, path))
    total = sum(_size(path) for _, _, path in found)
    with ExitStack() as stack:
        evicted = []
        # What a killed process left half made goes first; a living one has it locked.
        for complete, _, path in sorted(found):
            if size > limit or (complete and total + size <= limit):
                break
            with suppress(FileNotFoundError):
                if _lock(stack.enter_context(path.open("rb")), shared=False, wait=False):
                    evicted.append(path)
                    total -= _size(path)
        if total + size > limit:
            return False
        for path in evicted:
            path.unlink(missing_ok=True)
    return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _lock(file: BinaryIO, shared: bool, wait: bool = True) -> bool:
    """Lock an open file until its last copy and map are closed; False if another has it."""
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
    """One at a time among processes and threads; the file goes with the last one."""
    while True:
        with path.open("ab") as file:
            _lock(file, shared=False)
            try:
                held = os.fstat(file.fileno()).st_ino == path.stat().st_ino
            except FileNotFoundError:
                held = False
            if held:
                try:
                    yield
                finally:
                    if sys.platform != "win32":
                        path.unlink()
                return
