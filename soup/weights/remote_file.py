"""A safetensors file on a server, read by ranges: the header, then a tensor when asked for."""

from typing import Any

import torch
from torch import Tensor

from soup.weights.mapping import Reader
from soup.weights.safetensors_header import Entry, Malformed, header_length, parse

GUESS = 1 << 18  # bytes of the first read: the headers of most models fit, and one request is saved


class RemoteFile:
    """A file behind any protocol that fsspec knows (http, s3, gs, ...).

    Attributes:
        entries, metadata: its header.
        identity: what the server says to tell one content from another (an ETag, a date, a size).

    Raises:
        OSError: the server does not answer, or has no such file.
        Malformed: it is not a safetensors file.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        self._files, self._path = fsspec.core.url_to_fs(url)
        info: dict[str, Any] = self._files.info(self._path)
        size = info.get("size")
        if not size:
            raise Malformed("the server does not say how long it is")
        first = self._range(0, min(GUESS, size))
        length = header_length(first[:8], size)
        head = first[8 : 8 + length]
        if len(head) < length:
            head += self._range(8 + len(head), 8 + length)
        self.entries, self.metadata = parse(head, size - 8 - length)
        self._data = 8 + length
        known = [info[key] for key in ("ETag", "etag", "LastModified", "mtime") if info.get(key)]
        self.identity = " ".join([f"{size} bytes", *map(str, known)])

    def get_tensor(self, name: str) -> Tensor:
        entry: Entry = self.entries[name]
        if entry.start == entry.end:
            return torch.empty(entry.shape, dtype=entry.dtype)
        raw = bytearray(self._range(self._data + entry.start, self._data + entry.end))
        return torch.frombuffer(raw, dtype=entry.dtype).reshape(entry.shape)

    def reader(self, name: str) -> Reader:
        """Parts of a tensor that is fetched at once: a request for each part would take longer."""
        flat = self.get_tensor(name).reshape(-1)
        return lambda first, last: flat[first:last]

    def _range(self, start: int, end: int) -> bytes:
        raw: bytes = self._files.cat_file(self._path, start=start, end=end)
        if len(raw) != end - start:
            raise OSError(
                f"{self._path}: asked for bytes {start} to {end}, got {len(raw)} of them; "
                "the server must answer range requests"
            )
        return raw
