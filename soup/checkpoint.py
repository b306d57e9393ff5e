"""Weights on disk: safetensors files read lazily and written whole or not at all."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from soup.errors import BadInput
from soup.files import whole
from soup.weights import Weights


class CheckpointError(BadInput, ValueError):
    """A weights file that cannot be used; the message names it."""


class Checkpoint(Mapping[str, Tensor]):
    """A safetensors file as a mapping; a tensor is read when asked for and kept by nobody.

    Raises:
        CheckpointError: the file is missing, cut short or not safetensors.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._file = safe_open(str(path), framework="pt")
            self.metadata: dict[str, str] = self._file.metadata() or {}
            own = json.loads(self.metadata.pop("soup", "{}"))
            self.metadata |= own.get("metadata", {})
            self._tied: dict[str, str] = own.get("tied", {})
            self._names = dict.fromkeys(sorted([*self._file.keys(), *self._tied]))
        except (OSError, SafetensorError, json.JSONDecodeError) as error:
            raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from None

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        tensor: Tensor = self._file.get_tensor(self._tied.get(name, name))
        return tensor

    def __contains__(self, name: object) -> bool:  # Mapping's own would read the tensor
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.path)!r})"


def save(weights: Weights, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write weights as safetensors, aside and then renamed; the same weights give the same bytes.

    Tensors that share memory are written once, and named as tied in the metadata.

    Raises:
        OSError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    stored: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    seen: dict[tuple[int, torch.Size, tuple[int, ...], torch.dtype], str] = {}
    for name in sorted(weights):
        tensor = weights[name].detach()
        # The address given, not that of a copy from a device: a copy is freed, its address reused.
        key = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if isinstance(weights, dict) and tensor.numel() > 0 and key in seen:
            tied[name] = seen[key]
            continue
        seen[key] = name
        # A copy, for safetensors refuses tensors that are views of the same memory.
        stored[name] = tensor.cpu().clone(memory_format=torch.contiguous_format)
    # One entry of ours, for safetensors writes several in an order that changes from call to call.
    own = json.dumps({"metadata": dict(metadata or {}), "tied": tied}, sort_keys=True)
    with whole(path) as aside:
        try:
            save_file(stored, str(aside), metadata={"soup": own} if metadata or tied else None)
        except SafetensorError as error:
            raise OSError(f"{path}: cannot be written: {error}") from None
