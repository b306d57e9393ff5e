"""Read tensors from a safetensors file on this machine, whole (mapped) or part by part."""

import ctypes
import os
import stat
import threading
from io import FileIO
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from safetensors import safe_open
from torch import Tensor

from soup.known_digests import Changed, require_unchanged
from soup.weights.mapping import Reader, read_parts, reader_in_memory
from soup.weights.numbers import numbers
from soup.weights.safetensors_header import header_length, parse_header

# A process may open 256 files on some systems; a quarter of the limit is used at most.
MOST_OPEN = 96
_open_files: WeakKeyDictionary["LocalFile", None] = WeakKeyDictionary()  # oldest first
_lock = threading.Lock()
_thread = threading.local()


class LocalFile:
    """A safetensors file on this machine.

    Attributes:
        entries: dtype, shape and byte offsets of each tensor.
        metadata: strings from the header.
    """

    def __init__(self, path: str) -> None:
        """
        Map the file into memory and read its header.

        Raises:
            OSError, SafetensorError: the file is missing or not safetensors.
            Changed: it was changed or replaced meanwhile.
            Malformed: the header holds a dtype that this package does not know.
        """
        self._path = path
        self._file: FileIO | None = None
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116  a pipe would be waited for
            raise OSError("a pipe, device or socket, and only regular files are read")
        with Path(path).open("rb") as file:
            self._state = os.fstat(file.fileno())
            size = self._state.st_size
            length = header_length(file.read(8), size)
            self.entries, self.metadata = parse_header(file.read(length), size - 8 - length)
        self._mapped = safe_open(path, framework="pt")  # checks sizes and offsets too
        self._data_start = 8 + length
        self.require_unchanged()

    def require_unchanged(self) -> None:
        """Raise `Changed` if the file is not the one whose header was read, or was changed."""
        require_unchanged(self._path, self._state, os.stat(self._path))  # noqa: PTH116  no Path

    def get_tensor(self, name: str) -> Tensor:
        """Return a tensor over the mapped file; the system reads its pages on first access."""
        return self._mapped.get_tensor(name)

    def reader(self, name: str) -> Reader:
        """Return a function that reads parts of a tensor into a buffer of the calling thread.

        It takes half the time of reading the pages of the mapped file.

        Raises (when the function is called):
            Changed: the file was changed or replaced since it was opened.
        """
        if not hasattr(os, "preadv"):  # macOS and Windows
            return reader_in_memory(self.get_tensor(name))
        entry = self.entries[name]
        dtype = _real(entry.dtype)
        start, width = self._data_start + entry.start, dtype.itemsize

        def read(first: int, last: int) -> Tensor:
            # Kept short because it is called for every 128 KB of every model.
            view, part = _buffer(last - first, dtype)
            self._read(view, start + first * width)
            return numbers(part) if width == 1 else part

        return read

    def read_into(self, out: Tensor, name: str) -> None:
        """Read all real numbers of a tensor into a flat one; straight, if that is of its dtype.

        Raises:
            Changed: the file was changed or replaced since it was opened.
        """
        entry = self.entries[name]
        same = out.dtype == _real(entry.dtype) and out.device.type == "cpu"
        if same and out.is_contiguous() and hasattr(os, "preadv"):
            self._read(memory_of(out), self._data_start + entry.start)
        else:
            read_parts(out, self.reader(name))

    def _read(self, view: memoryview, offset: int) -> None:
        """Fill a view with the bytes of the file from an offset on."""
        file = self._file or self._opened()  # kept until all is read
        descriptor = file.fileno()
        done = os.preadv(descriptor, (view,), offset)
        while done < len(view):
            count = os.preadv(descriptor, (view[done:],), offset + done)
            if count == 0:
                raise Changed(f"{self._path} was cut short while it was read: write it anew")
            done += count

    def _opened(self) -> FileIO:
        """Return the file, open; of all files no more than `MOST_OPEN` are open at once."""
        with _lock:
            if (file := self._file) is None:
                file = Path(self._path).open("rb", buffering=0)  # noqa: SIM115 - kept
                try:  # the offsets are those of the file whose header was read
                    require_unchanged(self._path, self._state, os.fstat(file.fileno()))
                except Changed:
                    file.close()
                    raise
                self._file = file
                if len(_open_files) >= _most_open():
                    # Closed as soon as no thread reads it. The newest goes, because sums read the
                    # files in turn: the oldest is the next to be read.
                    _open_files.popitem()[0]._file = None
                _open_files[self] = None
            return file


def _real(dtype: torch.dtype) -> torch.dtype:
    return dtype.to_real() if dtype.is_complex else dtype


def _most_open() -> int:
    from resource import RLIMIT_NOFILE, getrlimit  # not on Windows

    limit = getrlimit(RLIMIT_NOFILE)[0]
    return min(MOST_OPEN, limit // 4) if limit > 0 else MOST_OPEN


def memory_of(tensor: Tensor) -> memoryview:
    """Return the memory of a contiguous CPU tensor as bytes, without numpy.

    The tensor must be kept for as long as the view is used.
    """
    memory = (ctypes.c_ubyte * tensor.nbytes).from_address(tensor.data_ptr())
    return memoryview(memory).cast("B")


def _buffer(count: int, dtype: torch.dtype) -> tuple[memoryview, Tensor]:
    """Return a buffer for `count` numbers as bytes and as a tensor.

    Each thread reuses one buffer, which therefore stays in the cache of its core.
    """
    try:
        return _thread.views[count, dtype]
    except (AttributeError, KeyError):
        size = count * dtype.itemsize
        if len(getattr(_thread, "bytes", ())) < size:
            _thread.bytes, _thread.views = torch.empty(size, dtype=torch.uint8), {}
        raw = _thread.bytes[:size]
        # Eight views suffice: only those of full parts are used again.
        _thread.views = {(count, dtype): (memory_of(raw), raw.view(dtype))} | dict(
            [*_thread.views.items()][:7]
        )
        return _thread.views[count, dtype]
