"""Folders as ranks of `torch.distributed.checkpoint` write them, made in this process."""

import io
import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)


def pieces(tensor: Tensor, ranks: int) -> list[tuple[tuple[int, ...], Tensor]]:
    """The offset and the numbers of each rank's part, as FSDP deals out the rows."""
    if tensor.ndim == 0:
        return [((), tensor)]
    parts, row = [], 0
    for part in tensor.chunk(ranks):
        parts.append(((row, *[0] * (tensor.ndim - 1)), part))
        row += len(part)
    return parts


def table(
    tensors: Mapping[str, Tensor], keys: Mapping[str, Sequence[str]], folder: Path
) -> Metadata:
    """Write the shards of two ranks, and return their table of contents."""
    entries: dict[str, Any] = {}
    places: dict[MetadataIndex, _StorageInfo] = {}
    files = [io.BytesIO(), io.BytesIO()]
    for name, tensor in tensors.items():
        chunks = []
        for rank, (offset, part) in enumerate(pieces(tensor, 2)):
            start = files[rank].tell()
            saved = io.BytesIO()
            torch.save(part.clone(), saved)
            files[rank].write(saved.getvalue())
            chunks.append(ChunkStorageMetadata(torch.Size(offset), part.shape))
            info = _StorageInfo(f"__{rank}_0.distcp", start, files[rank].tell() - start)
            places[MetadataIndex(name, offset)] = info
        properties = TensorProperties(dtype=tensor.dtype)
        entries[name] = TensorStorageMetadata(properties, tensor.shape, chunks)
    entries["epoch"] = BytesStorageMetadata()
    for rank, file in enumerate(files):
        (folder / f"__{rank}_0.distcp").write_bytes(file.getvalue())
    return Metadata(entries, planner_data=dict(keys), storage_data=places)


def dcp(folder: Path, tensors: Mapping[str, Tensor], outer: str = "model") -> Metadata:
    """Write a checkpoint of two ranks: {outer: tensors, "optim": {"state": ...}, "epoch": ...}."""
    folder.mkdir(parents=True)
    named = {f"{outer}.{name}": tensor for name, tensor in tensors.items()}
    keys: dict[str, Any] = {f"{outer}.{name}": (outer, name) for name in tensors}
    named["optim.state.0"] = torch.ones(8, 2)
    keys |= {"optim.state.0": ("optim", "state", 0), "epoch": ("epoch",)}
    written = table(named, keys, folder)
    put(folder, written)
    return written


def put(folder: Path, content: object) -> None:
    (folder / ".metadata").write_bytes(pickle.dumps(content))


def safetensors_shards(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write what two ranks write by `HuggingFaceStorageWriter(save_distributed=True)`."""
    folder.mkdir(parents=True)
    parts = {name: pieces(tensor, 2) for name, tensor in tensors.items()}
    for rank in range(2):
        own = {name: part[rank] for name, part in parts.items() if rank < len(part)}
        offsets = {name: {"saved_offsets": [*offset]} for name, (offset, _) in own.items()}
        save_file(
            {name: part.contiguous() for name, (_, part) in own.items()},
            folder / f"shard-{rank + 1:05d}-model-00001-of-00001.safetensors",
            {"format": "pt", "DCP_SHARDING_INFO": json.dumps(offsets), "DCP_VERSION": "1.0"},
        )
