"""Read tensors from a safetensors file on this machine, whole (mapped) or part by part."""

import ctypes
import os
import threading
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from soup.weights.mapping import Reader, reader_in_memory
from soup.weights.safetensors_header import header_length, parse_header

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
            Malformed: the header holds a dtype that this package does not know.
        """
        self._path = path
        self._mapped = safe_open(path, framework="pt")  # checks sizes and offsets
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = header_length(file.read(8), size)
            self.entries, self.metadata = parse_header(file.read(length), size - 8 - length)
        self._data_start = 8 + length

    def get_tensor(self, name: str) -> Tensor:
        """Return a tensor over the mapped file; the system reads its pages on first access."""
        return self._mapped.get_tensor(name)

    def reader(self, name: str) -> Reader:
        """Return a function that reads parts of a tensor into a buffer of the calling thread.

        It takes half the time of reading the pages of the mapped file.

        Raises (when the function is called):
            OSError: the file was cut short since it was opened.
        """
        if not hasattr(os, "preadv"):  # macOS and Windows
            return reader_in_memory(self.get_tensor(name))
        entry = self.entries[name]
        start, width = self._data_start + entry.start, entry.dtype.itemsize
        file = Path(self._path).open("rb", buffering=0)  # noqa: SIM115 - closed with the reader
        descriptor = file.fileno()

        def read(first: int, last: int) -> Tensor:
            # Kept short because it is called for every 128 KB of every model.
            view, part = _buffer(last - first, entry.dtype)
            offset = start + first * width
            done = os.preadv(descriptor, (view,), offset)
            while done < len(view):
                count = os.preadv(descriptor, (view[done:],), offset + done)
                if count == 0:
                    raise OSError(f"{file.name} was cut short while it was read")
                done += count
            return part

        return read


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
