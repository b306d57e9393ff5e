"""Read the header and single tensors of a safetensors file on a server, by range requests."""

from typing import Any

import torch
from torch import Tensor

from soup.weights.mapping import Reader, reader_in_memory
from soup.weights.numbers import numbers
from soup.weights.safetensors_header import Entry, Malformed, header_length, parse_header

# Bytes of the first request. The headers of most models fit, which saves a second request.
FIRST_READ = 1 << 18


class RemoteFile:
    """A safetensors file behind any protocol that fsspec reads (http, s3, gs, ...).

    Attributes:
        entries: dtype, shape and byte offsets of each tensor.
        metadata: strings from the header.
        identity: the size, ETag and modification date that the server states; they change when
            the content changes.
    """

    def __init__(self, url: str) -> None:
        """
        Read the header of the file.

        Raises:
            OSError: the server does not answer, or has no such file.
            Malformed: the file is not safetensors.
        """
        import fsspec

        self._files, self._path = fsspec.core.url_to_fs(url)
        info: dict[str, Any] = self._files.info(self._path)
        size = info.get("size")
        if not size:
            raise Malformed("the server does not say how long it is")
        first = self._range(0, min(FIRST_READ, size))
        length = header_length(first[:8], size)
        header = first[8 : 8 + length]
        if len(header) < length:
            header += self._range(8 + len(header), 8 + length)
        self.entries, self.metadata = parse_header(header, size - 8 - length)
        self._data_start = 8 + length
        marks = [info[key] for key in ("ETag", "etag", "LastModified", "mtime") if info.get(key)]
        self.identity = " ".join([f"{size} bytes", *map(str, marks)])

    def get_tensor(self, name: str) -> Tensor:
        entry: Entry = self.entries[name]
        if entry.start == entry.end:
            return torch.empty(entry.shape, dtype=entry.dtype)
        raw = bytearray(self._range(self._data_start + entry.start, self._data_start + entry.end))
        return torch.frombuffer(raw, dtype=entry.dtype).reshape(entry.shape)

    def reader(self, name: str) -> Reader:
        """Fetch the whole tensor, because a request for each part would take longer."""
        return reader_in_memory(self.get_tensor(name))

    def read_into(self, out: Tensor, name: str) -> None:
        """Fetch all real numbers of a tensor into a flat one."""
        out.copy_(numbers(self.get_tensor(name)))

    def _range(self, start: int, end: int) -> bytes:
        raw: bytes = self._files.cat_file(self._path, start=start, end=end)
        if len(raw) != end - start:
            raise OSError(
                f"{self._path}: asked for bytes {start} to {end}, got {len(raw)} of them; "
                "the server must answer range requests"
            )
        return raw
