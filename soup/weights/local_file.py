"""A safetensors file on this machine: mapped into memory, or read in parts into a small buffer."""

import os
import threading
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from soup.weights.mapping import Reader
from soup.weights.safetensors_header import header_length, parse

_own = threading.local()


class LocalFile:
    """A file; what is asked for whole is mapped, and read by the system when it is looked at.

    Attributes:
        entries, metadata: its header.

    Raises:
        OSError, SafetensorError: it is not there, or not safetensors.
        Malformed: it is of a kind that is not known here.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._mapped = safe_open(path, framework="pt")  # which checks sizes and offsets
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = header_length(file.read(8), size)
            self.entries, self.metadata = parse(file.read(length), size - 8 - length)
        self._data = 8 + length

    def get_tensor(self, name: str) -> Tensor:
        tensor: Tensor = self._mapped.get_tensor(name)
        return tensor

    def reader(self, name: str) -> Reader:
        """Reads parts into a buffer of the thread: half the time of touching mapped pages.

        Raises (when called):
            OSError: the file was cut short since it was opened.
        """
        if not hasattr(os, "preadv"):  # macOS and Windows
            flat = self.get_tensor(name).reshape(-1)
            return lambda first, last: flat[first:last]
        entry = self.entries[name]
        start, width = self._data + entry.start, entry.dtype.itemsize
        file = Path(self._path).open("rb", buffering=0)  # noqa: SIM115 - closed with the reader
        number = file.fileno()

        def read(first: int, last: int) -> Tensor:
            # As little as can be: this is run for every 128 KB of every model.
            view, part = _buffer(last - first, entry.dtype)
            at = start + first * width
            done = os.preadv(number, (view,), at)
            while done < len(view):
                got = os.preadv(number, (view[done:],), at + done)
                if got == 0:
                    raise OSError(f"{file.name} was cut short while it was read")
                done += got
            return part

        return read


def _buffer(count: int, dtype: torch.dtype) -> tuple[memoryview, Tensor]:
    """The thread's own place for so many numbers: it stays in its core's cache."""
    try:
        return _own.views[count, dtype]
    except (AttributeError, KeyError):
        size = count * dtype.itemsize
        if len(getattr(_own, "bytes", ())) < size:
            _own.bytes, _own.views = torch.empty(size, dtype=torch.uint8), {}
        raw = _own.bytes[:size]
        # Few sizes are asked for again: those of full parts.
        _own.views = {(count, dtype): (raw.numpy().data, raw.view(dtype))} | dict(
            [*_own.views.items()][:7]
        )
        return _own.views[count, dtype]
