"""The table of contents of a checkpoint of `torch.distributed`, read without running code from it.

`.metadata` is a pickle, and torch's own reader runs it. Here it may build the classes of such a
table and plain containers, and nothing else.
"""

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import filesystem
from torch.distributed.checkpoint import metadata as classes
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.serialization import _get_layout

from soup import limits
from soup.errors import some
from soup.files import read_bytes
from soup.models.conversion.dcp_files import METADATA_FILE, SUFFIX
from soup.models.conversion.errors import FormatError
from soup.models.conversion.pickle_reader import Inert

_OF_METADATA = (
    "Metadata", "MetadataIndex", "TensorStorageMetadata", "BytesStorageMetadata",
    "ChunkStorageMetadata", "TensorProperties", "StorageMeta", "_MEM_FORMAT_ENCODING",
)  # fmt: skip
# What a table may build. Paths in it are of the machine that wrote it, and are not needed.
ADMITTED: dict[tuple[str, str], Any] = {
    **{(classes.__name__, name): getattr(classes, name) for name in _OF_METADATA},
    (filesystem.__name__, "_StorageInfo"): filesystem._StorageInfo,
    ("torch", "Size"): torch.Size,
    ("torch.serialization", "_get_layout"): _get_layout,
    ("collections", "OrderedDict"): OrderedDict,
    **{
        (module, name): Inert
        for module in ("pathlib", "pathlib._local")
        for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
    },
}
DAMAGE = (
    "its table of contents cannot be read ({}); if it was whole, it is damaged or cut short: fetch "
    "or save it again"
)


class _Unpickler(pickle.Unpickler):
    """Builds what `ADMITTED` lists and dtypes; anything else is refused by its name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in ADMITTED:
            return ADMITTED[module, name]
        dtype = getattr(torch, name, None) if module == "torch" else None
        if isinstance(dtype, torch.dtype):
            return dtype
        raise FormatError(
            f"refused: its table of contents asks for '{module}.{name}', and import takes tensors "
            "only; nothing of it was run"
        )

    def persistent_load(self, pid: Any) -> Any:  # noqa: ARG002 - pickle passes it
        raise FormatError("refused: its table of contents refers to objects outside of it")


def read_table(folder: Path) -> Metadata:
    """The table of contents of a folder, checked: every shard is there, and every tensor whole.

    Raises:
        FormatError: the table is damaged or asks for other classes, or shards are missing.
    """
    path = folder / METADATA_FILE
    try:
        raw = read_bytes(path, limits.PICKLE_BYTES)
        table = _Unpickler(io.BytesIO(raw)).load()
        tensors = tensors_of(table)
        parts = _parts(table)
        _require_files(folder, parts)
        require_whole(tensors)
    except FormatError as error:
        raise FormatError(f"{folder}: {error}") from None
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror or error}") from None
    except Exception as error:  # a damaged pickle raises errors of any type
        raise FormatError(f"{folder}: {DAMAGE.format(type(error).__name__)}") from None
    return table


def tensors_of(table: Metadata) -> dict[str, TensorStorageMetadata]:
    """The tensors in a table, by name, each of a dtype, shape and parts that may be.

    Raises:
        ValueError: an entry is none.
    """
    tensors = {}
    for name, entry in table.state_dict_metadata.items():
        if not isinstance(name, str):
            raise ValueError("a name is no text")
        if isinstance(entry, TensorStorageMetadata):
            shapes = [entry.size, *(size for c in entry.chunks for size in (c.offsets, c.sizes))]
            alike = all(isinstance(s, torch.Size) and len(s) == len(entry.size) for s in shapes)
            if not alike or any(number < 0 for shape in shapes for number in shape):
                raise ValueError(f"{name} has no shape")
            if not isinstance(entry.properties.dtype, torch.dtype):
                raise ValueError(f"{name} has no dtype")
            tensors[name] = entry
    return tensors


def require_whole(tensors: Mapping[str, TensorStorageMetadata]) -> None:
    """Raise `FormatError` if the parts of a tensor are fewer or more numbers than it has."""
    wrong = []
    for name, entry in tensors.items():
        sizes = {tuple(chunk.offsets): math.prod(chunk.sizes) for chunk in entry.chunks}
        parts = sum(sizes.values())
        if parts != math.prod(entry.size):
            wrong.append(f"{name} ({parts:,} of {math.prod(entry.size):,} numbers)")
    if wrong:
        raise FormatError(
            f"its shards hold {some(wrong, 5)}: a shard is missing or of another checkpoint; fetch "
            "all of it again"
        )


def _parts(table: Metadata) -> dict[str, int]:
    """The file names in a table, each with the byte that the last part in it ends before."""
    ends: dict[str, int] = {}
    for info in table.storage_data.values():
        name, start, length = info.relative_path, info.offset, info.length
        if type(name) is not str or Path(name).name != name or not name.endswith(SUFFIX):
            raise FormatError(f"a file that its table names is none of its shards: {name!r}")
        if type(start) is not int or type(length) is not int or min(start, length) < 0:
            raise ValueError("an offset is no number")
        if getattr(info, "transform_descriptors", None):
            raise FormatError(
                "its shards are compressed or encrypted; save it without transforms, or load it in "
                "the program that wrote it and save the weights alone"
            )
        ends[name] = max(ends.get(name, 0), start + length)
    return ends


def _require_files(folder: Path, ends: Mapping[str, int]) -> None:
    missing = [name for name in ends if not (folder / name).is_file()]
    if missing:
        raise FormatError(
            f"shards are missing: {some(missing, 5)}; each rank wrote its own on the disk of its "
            "host: copy all of them into the folder"
        )
    short = [name for name, end in ends.items() if (folder / name).stat().st_size < end]
    if short:
        raise FormatError(f"shards are cut short: {some(short, 5)}; fetch them again")
