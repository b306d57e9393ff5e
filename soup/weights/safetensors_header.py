"""Parse and write the header of the safetensors format.

A safetensors file is the length of the header (eight bytes), the header (JSON) and the bytes of the
tensors (https://huggingface.co/docs/safetensors). The safetensors library reads local files; it has
no function to parse a header that was fetched from a server, or to write a file tensor by tensor.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from soup import limits
from soup.errors import some
from soup.files import parse_json

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
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
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
MOST_DIMENSIONS = 64  # of a tensor; torch's limit


class Entry(NamedTuple):
    """A tensor in a file; its bytes are `start` to `end` (exclusive), counted from the header."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    end: int


class Malformed(ValueError):
    """A file is not in the safetensors format; the message says why."""


def header_length(first_eight: bytes, file_size: int) -> int:
    """Return the length of the JSON header in bytes.

    Args:
        first_eight: the first eight bytes of the file.
        file_size: in bytes.

    Raises:
        Malformed: a header of that length does not fit into the file.
    """
    length = int.from_bytes(first_eight, "little")
    if len(first_eight) < 8 or not 0 < length <= min(limits.HEADER_BYTES, file_size - 8):
        raise Malformed(f"it does not begin with the length of a header ({file_size} bytes long)")
    return length


def parse_header(header: bytes, data_size: int) -> tuple[dict[str, Entry], dict[str, str]]:
    """Return the tensors, by name, and the metadata that a JSON header describes.

    Args:
        header: the JSON.
        data_size: bytes after the header.

    Raises:
        Malformed: the header is not JSON, or its sizes and offsets contradict each other or
            `data_size`.
    """
    try:
        raw: dict[str, Any] = parse_json(header, "it", limits.HEADER_BYTES)
        metadata: dict[str, str] = dict(raw.pop("__metadata__", None) or {})
        if not all(isinstance(text, str) for text in metadata.values()):
            raise ValueError("its metadata are no strings")
        if len(raw) > limits.TENSORS:
            raise Malformed(
                f"it has {len(raw):,} tensors; at most {limits.TENSORS:,} are read "
                "(limit TENSORS in soup/limits.py)"
            )
        longest = max(map(len, raw), default=0)
        if longest > limits.TENSOR_NAME:
            raise Malformed(
                f"a name in it has {longest:,} characters; at most {limits.TENSOR_NAME:,} are read "
                "(limit TENSOR_NAME in soup/limits.py)"
            )
        packed = [f"{n} ({v['dtype']})" for n, v in raw.items() if v["dtype"] not in DTYPES]
        if packed:
            raise Malformed(
                f"{some(packed, 5)} are of a type that is not read, mostly a part of quantised "
                "weights; give the model as it was before it was quantised"
            )
        entries = {name: _entry(value) for name, value in raw.items()}
    except Malformed:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Malformed(f"its header cannot be read: {type(error).__name__}: {error}") from None
    offset = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1][2:]):
        size = math.prod(entry.shape) * entry.dtype.itemsize
        if (entry.start, entry.end) != (offset, offset + size):
            raise Malformed(
                f"its header says that {name} is at {entry.start} to {entry.end}; by the sizes of "
                f"the tensors it is at {offset} to {offset + size}"
            )
        offset += size
    if offset != data_size:
        raise Malformed(f"its header speaks of {offset} bytes of tensors; there are {data_size}")
    return entries, metadata


def _entry(value: Mapping[str, Any]) -> Entry:
    """A tensor as the header describes it.

    Raises:
        ValueError, KeyError, TypeError: it is not described so.
    """
    shape, (start, end) = value["shape"], value["data_offsets"]
    if not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS:
        raise ValueError(f"a shape is no list of at most {MOST_DIMENSIONS} numbers")
    if not all(type(number) is int and 0 <= number < 1 << 63 for number in (*shape, start, end)):
        raise ValueError("a shape or an offset is no whole number from 0 to 2**63 - 1")
    return Entry(DTYPES[value["dtype"]], tuple(shape), start, end)


def encode_header(entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> bytes:
    """Return the length and the header, padded so that the tensors begin at a multiple of eight."""
    raw: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    for name, entry in entries.items():
        raw[name] = {
            "dtype": DTYPE_NAMES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [entry.start, entry.end],
        }
    text = json.dumps(raw, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
