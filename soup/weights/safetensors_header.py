"""The safetensors format: an eight-byte length, a JSON header, and the tensors' bytes in a row.

https://huggingface.co/docs/safetensors. Local files are read by the library of that name; what it
has no function for stands here: a header that came by network, and a file written tensor by tensor.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
LONGEST_HEADER = 100_000_000  # the library's own limit


class Entry(NamedTuple):
    """A tensor in a file, from byte `start` to `end` after the header."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    end: int


class Malformed(ValueError):
    """Not a safetensors file; says what is wrong."""


def header_length(first_eight: bytes, file_size: int) -> int:
    """The length of the JSON header.

    Raises:
        Malformed: it cannot be true.
    """
    length = int.from_bytes(first_eight, "little")
    if len(first_eight) < 8 or not 0 < length <= min(LONGEST_HEADER, file_size - 8):
        raise Malformed(f"it does not begin with the length of a header ({file_size} bytes long)")
    return length


def parse(header: bytes, data_size: int) -> tuple[dict[str, Entry], dict[str, str]]:
    """The tensors and the metadata of a header.

    Args:
        data_size: bytes after the header.

    Raises:
        Malformed: it is not JSON, or its sizes and offsets contradict each other or the file.
    """
    try:
        raw: dict[str, Any] = json.loads(header)
        metadata: dict[str, str] = raw.pop("__metadata__", None) or {}
        entries = {
            name: Entry(DTYPES[e["dtype"]], tuple(e["shape"]), *e["data_offsets"])
            for name, e in raw.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Malformed(f"its header cannot be read: {type(error).__name__}: {error}") from None
    at = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1][2:]):
        size = math.prod(entry.shape) * entry.dtype.itemsize
        if (entry.start, entry.end) != (at, at + size):
            raise Malformed(
                f"its header says that {name} is at {entry.start} to {entry.end}; by the sizes of "
                f"the tensors it is at {at} to {at + size}"
            )
        at += size
    if at != data_size:
        raise Malformed(f"its header speaks of {at} bytes of tensors; there are {data_size}")
    return entries, metadata


def compose(entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> bytes:
    """The head of a file, padded so that the tensors begin at a multiple of eight."""
    raw: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    for name, entry in entries.items():
        raw[name] = {
            "dtype": NAMES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [entry.start, entry.end],
        }
    text = json.dumps(raw, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
