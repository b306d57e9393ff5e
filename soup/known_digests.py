"""The SHA-256 of large files: in steps beside other work, and once for each state of a file.

A digest is kept in `~/.cache/modelsoup/digests` (or `$XDG_CACHE_HOME`) with the state of its file:
device, inode, size, and when content and inode were last changed, in nanoseconds. It is used as
long as the file has this state. Nobody can set the time of the inode, so that a file which was
changed and given its old time has another state.

The file system's clock is too coarse to tell two writes within a few milliseconds apart, a server's
clock may differ from ours, and the time of a write through mapped memory may be stored half a
minute late. Git has the same problem, and reads files again that were changed as lately as its
index. Here a digest is kept only if its file had not been changed for `SETTLED` seconds.

Every line has a check of its own. A line that another process wrote halfway, or that was damaged,
is not used, and the digest is computed anew. Nobody but the owner can write to the file, or it is
not used.
"""

import hashlib
import os
import re
import stat
import threading
from pathlib import Path
from time import time

from soup import limits
from soup.errors import BadInput
from soup.files import atomic_write

SETTLED = 60  # seconds
SMALLEST = 1 << 20  # bytes; of smaller files the digest is computed in less than a millisecond
BLOCK = 1 << 20  # bytes read and hashed at a time
_LINE = re.compile(rb" ([0-9a-f]{64}) ([0-9a-f]{16})\n")
_thread = threading.local()


class Changed(BadInput):
    """A file was changed while it was read; the message names it."""


class FileDigest:
    """The SHA-256 of a file, computed step by step.

    Attributes:
        size: of the file, in bytes.
        known: whether the digest was kept at an earlier time, so that nothing is left to compute.
    """

    def __init__(self, path: str | Path) -> None:
        """
        Raises:
            OSError: there is no such file.
        """
        self._path = Path(path)
        self._opened = time()
        self._state = self._path.stat()
        self._hash, self._lock = hashlib.sha256(), threading.Lock()
        self._done, self.size = 0, self._state.st_size
        self._digest = _kept(self._state)
        self.known = self._digest is not None

    def advance(self, end: int) -> None:
        """Hash the bytes before `end` that were not hashed yet; threads may call this at once.

        Raises:
            Changed: the file is not the one that was opened, or was changed since.
        """
        with self._lock:
            if self._digest is None and self._done < end:
                with self._path.open("rb", buffering=0) as file:
                    require_unchanged(self._path, self._state, os.fstat(file.fileno()))
                    file.seek(self._done)
                    _request(file.fileno(), self._done, end)
                    view = _buffer()
                    while self._done < end:
                        count = file.readinto(view[: min(BLOCK, end - self._done)])
                        if not count:
                            break
                        self._hash.update(view[:count])
                        self._done += count

    def finish(self) -> str:
        """Hash what is left, and return the digest in hexadecimal.

        Raises:
            Changed: the file was changed since it was opened.
        """
        self.advance(self.size)
        with self._lock:
            if self._digest is None:
                now = self._path.stat()
                require_unchanged(self._path, self._state, now)
                self._digest = self._hash.hexdigest()
                if _key(now) == _key(self._state) and self._settled():
                    _keep(now, self._digest)
            return self._digest

    def _settled(self) -> bool:
        last = max(self._state.st_mtime, self._state.st_ctime)
        return last < self._opened - SETTLED


def require_unchanged(path: str | Path, before: os.stat_result, now: os.stat_result) -> None:
    """Raise `Changed` if the state of a file says that its content is not the one of before."""
    # The time of the inode is that of a new name or link too, which is no change of content.
    if _content(now) != _content(before):
        raise Changed(f"{path} was changed while it was read: try again when it is whole")


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal, from an earlier time if it is kept.

    Raises:
        OSError: there is no such file.
        Changed: it was changed while it was read.
    """
    return FileDigest(path).finish()


def _request(descriptor: int, start: int, end: int) -> None:
    """Ask the disk for these bytes at once, in place of many small requests."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, start, end - start, os.POSIX_FADV_WILLNEED)


def _content(state: os.stat_result) -> tuple[int, ...]:
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def _key(state: os.stat_result) -> bytes:
    return ":".join(map(str, (*_content(state), state.st_ctime_ns))).encode()


def _buffer() -> memoryview:
    """Memory of `BLOCK` bytes, the same at each call by a thread."""
    if not hasattr(_thread, "view"):
        _thread.view = memoryview(bytearray(BLOCK))
    view: memoryview = _thread.view
    return view


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "modelsoup" / "digests"


def _line(state: os.stat_result, digest: bytes) -> bytes:
    return b"\n%b %b %b\n" % (_key(state), digest, _check(state, digest))


def _check(state: os.stat_result, digest: bytes) -> bytes:
    return hashlib.sha256(_key(state) + b" " + digest).hexdigest()[:16].encode()


def _kept(state: os.stat_result) -> str | None:
    """The digest that was kept of a file in this state."""
    if state.st_size < SMALLEST or os.name == "nt":  # no time of the inode there
        return None
    try:
        text = _text(_cache())
    except (OSError, RuntimeError):  # no cache, or no home
        return None
    start = b"\n%b " % _key(state)
    at = text.rfind(start)
    line = _LINE.match(text, at + len(start) - 1) if at >= 0 else None
    whole = line is not None and line[2] == _check(state, line[1])
    return line[1].decode() if line is not None and whole else None


def _text(path: Path) -> bytes:
    """The cache, if it is a file that nobody but this user can write to.

    Raises:
        OSError: there is none.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode) or state.st_uid != os.geteuid() or state.st_mode & 0o022:
            raise OSError(f"{path} is not a file that this user alone can write to")
        return file.read(2 * limits.DIGEST_CACHE_BYTES)


def _keep(state: os.stat_result, digest: str) -> None:
    """Keep a digest; of a cache that is full, the newer half is kept.

    A process that appends while another one halves the cache loses its line, and no more.
    """
    if state.st_size < SMALLEST or os.name == "nt":
        return
    try:
        path = _cache()
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(path, flags, 0o600)
        try:
            os.write(descriptor, _line(state, digest.encode()))  # one call, so that no two mix
            full = os.fstat(descriptor).st_size > limits.DIGEST_CACHE_BYTES
        finally:
            os.close(descriptor)
        if full:
            newer = _text(path)[-limits.DIGEST_CACHE_BYTES // 2 :]
            with atomic_write(path) as aside:
                aside.chmod(0o600)
                aside.write_bytes(newer)
    except (OSError, RuntimeError):  # a folder that cannot be written: computed again next time
        return
