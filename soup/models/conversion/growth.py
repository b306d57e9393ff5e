"""Limit how much a file grows: sizes are summed before anything is unpacked or written."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from soup import limits
from soup.models.conversion.errors import FormatError
from soup.weights import specs
from soup.weights.numbers import plain

END = b"PK\x05\x06"  # of a zip file; what follows says where its table of contents is
END_BYTES = 22 + (1 << 16)  # with the longest comment
LOCATOR = b"PK\x06\x07"  # in front of it, says where larger numbers are


def records(path: Path) -> list[zipfile.ZipInfo] | None:
    """The records of a zip file within the limits; None if the file is not a zip file.

    Raises:
        FormatError: records overlap, or unpack to more than the limits.
        BadZipFile: the file is damaged.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":  # as torch tells its two formats apart
            return None
    size, listed = path.stat().st_size, _directory_bytes(path)
    if listed > limits.DIRECTORY_BYTES:
        raise _refusal(path, f"its table of contents has {listed:,} bytes", "DIRECTORY_BYTES")
    with zipfile.ZipFile(path) as archive:
        found = archive.infolist()
    if sum(record.compress_size for record in found) > size:
        raise FormatError(f"{path} is refused: its records overlap; save it again with torch.save")
    whole, most = sum(record.file_size for record in found), _most(size)
    if whole > most:
        raise _refusal(path, f"it has {size:,} bytes and unpacks to {whole:,}", "GROWTH", most)
    for record in found:
        if record.filename.endswith("data.pkl") and record.file_size > limits.PICKLE_BYTES:
            what = f"its pickle has {record.file_size:,} bytes without tensors"
            raise _refusal(path, what, "PICKLE_BYTES")
    return found


def require_sound_size(weights: Mapping[str, Tensor], source: Path, size: int) -> None:
    """Check the number, the names and the sizes of tensors that were read from a file.

    A tensor may be a view that repeats one number (a stride of 0), or that shares memory with other
    tensors; when it is written, every element takes memory.

    Args:
        weights: tensor name -> tensor.
        source: the file, for the error message.
        size: bytes of the file or of all shards.

    Raises:
        FormatError: the tensors exceed a limit.
    """
    if len(weights) > limits.TENSORS:
        raise _refusal(source, f"it has {len(weights):,} tensors", "TENSORS")
    long = [name for name in weights if len(name) > limits.TENSOR_NAME]
    if long:
        what = f"the name of a tensor has {len(long[0]):,} characters ({long[0][:40]}...)"
        raise _refusal(source, what, "TENSOR_NAME")
    tensors = {name: tensor for name, tensor in weights.items() if plain(tensor)}
    sizes = {
        name: tensors[name].nbytes for name, spec in specs(tensors).items() if spec.tied == name
    }
    most = _most(size)
    if sum(sizes.values()) > most:
        name = max(sizes, key=sizes.__getitem__)
        memory = tensors[name].untyped_storage().nbytes()
        what = (
            f"it has {size:,} bytes, and its tensors {sum(sizes.values()):,}; the largest, {name}, "
        )
        what += f"shows {sizes[name]:,} bytes of a memory of {memory:,}"
        raise _refusal(source, what, "GROWTH", most)
    storages = {
        t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors.values()
    }
    if sum(storages.values()) > most:
        what = f"it has {size:,} bytes, and the memory of its tensors {sum(storages.values()):,}"
        raise _refusal(source, what, "GROWTH", most)


def _most(size: int) -> int:
    return limits.GROWTH * size + limits.SLACK


def _refusal(path: Path, what: str, limit: str, most: int | None = None) -> FormatError:
    most = getattr(limits, limit) if most is None else most
    return FormatError(
        f"{path} is refused: {what}; at most {most:,} are taken (limit {limit} in soup/limits.py)"
    )


def _directory_bytes(path: Path) -> int:
    """The length of a zip file's table of contents, as the file states it; 0 if it does not."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - END_BYTES))
        tail = file.read(END_BYTES)
        end = tail.rfind(END)
        listed = int.from_bytes(tail[end + 12 : end + 16], "little") if end >= 0 else 0
        if end >= 20 and tail[end - 20 : end - 16] == LOCATOR:  # numbers that do not fit in there
            file.seek(min(size, int.from_bytes(tail[end - 12 : end - 4], "little")))
            listed = max(listed, int.from_bytes(file.read(48)[40:], "little"))
    return listed
