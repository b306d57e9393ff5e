"""Weights in files: read lazily from one, several or a server; written whole or not at all."""

import errno
import hashlib
import json
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError
from torch import Tensor

from soup.errors import some
from soup.files import atomic_write
from soup.weights.local_file import LocalFile
from soup.weights.mapping import LazyWeights, Reader, Spec, Weights, specs
from soup.weights.remote_file import RemoteFile
from soup.weights.safetensors_header import NAMES, Entry, compose
from soup.weights.shards import (
    CheckpointError,
    files_of,
    index_of,
    is_remote,
    open_file,
    unreadable,
)

# Names of tensors that are written once and known by several names, in a file's metadata.
TIED = "soup.tied"


class Checkpoint(LazyWeights):
    """Weights in safetensors as a mapping; a tensor is read when asked for and kept by nobody.

    Attributes:
        path: as given.
        files: the safetensors files, one or the shards.
        metadata: what was given to `save`.

    Raises:
        CheckpointError: a file is missing, cut short, not safetensors, or contradicts its index.
    """

    def __init__(self, path: str | Path) -> None:
        """
        Args:
            path: a safetensors file; the index (.json) of a sharded one; a folder with either, as
                Hugging Face lays it out; or a URL of a file or an index, for anything that fsspec
                reads (https://, s3://, ...).
        """
        self.path = str(path)
        self.files = files_of(self.path)
        self.metadata: dict[str, str] = {}
        self._holder: dict[str, LocalFile | RemoteFile] = {}
        found: dict[str, Spec] = {}
        tied: dict[str, str] = {}
        for file in self.files:
            try:
                opened = open_file(file)
                self.metadata |= opened.metadata
                tied |= json.loads(self.metadata.pop(TIED, "{}"))
            except (OSError, SafetensorError, ValueError) as error:
                raise unreadable(file, error) from None
            for name, entry in opened.entries.items():
                if name in found:
                    raise CheckpointError(f"{self.path}: {name} is in two of its files")
                found[name] = Spec(entry.dtype, entry.shape, name)
                self._holder[name] = opened
        self._require_index(found)
        found |= {name: found[first]._replace(tied=first) for name, first in tied.items()}
        self.metadata.pop("format", None)
        self._specs = dict(sorted(found.items()))

    @property
    def specs(self) -> Mapping[str, Spec]:
        return self._specs

    def __getitem__(self, name: str) -> Tensor:
        stored = self._specs[name].tied
        return self._holder[stored].get_tensor(stored)

    def reader(self, name: str) -> Reader:
        stored = self._specs[name].tied
        return self._holder[stored].reader(stored)

    def digest(self) -> str:
        """SHA-256 of the file, as `sha256sum` prints it; of several, of their names and digests.

        Of a file on a server, what the server says of it: reading all of it for this would cost
        more than the average.
        """
        digests = []
        for file in self.files:
            if is_remote(file):
                digests.append(RemoteFile(file).identity)
            else:
                with Path(file).open("rb") as raw:
                    digests.append(hashlib.file_digest(raw, "sha256").hexdigest())
        if len(digests) == 1:
            return digests[0]
        lines = [f"{d}  {Path(f).name}\n" for d, f in zip(digests, self.files, strict=True)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def __str__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        return f"Checkpoint({self.path!r})"

    def _require_index(self, found: Mapping[str, Spec]) -> None:
        """Raise if a sharded model's index names tensors that its files do not hold."""
        if not self.path.endswith(".json") and len(self.files) == 1:
            return
        missing = sorted(index_of(self.path).keys() - found.keys())
        if missing:
            raise CheckpointError(
                f"{self.path}: its files lack {some(missing, 5, last=' ')}, which its index names"
            )


def save(weights: Weights, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write weights as safetensors, aside and then renamed; the same weights give the same bytes.

    A lazy mapping is computed block by block as it is written, and never held. Tensors that share
    memory are written once, and named as tied in the metadata.

    Raises:
        OSError: the disk is full or the folder cannot be written; nothing is left behind.
        ValueError: a dtype that safetensors does not know.
    """
    every = specs(weights)
    unknown = [f"{name} ({s.dtype})" for name, s in every.items() if s.dtype not in NAMES]
    if unknown:
        raise ValueError(f"{path}: safetensors cannot hold {', '.join(unknown[:5])}")
    tied = {name: spec.tied for name, spec in every.items() if spec.tied != name}
    # The library's own order: large numbers first, so that all of them are aligned.
    stored = sorted(every.keys() - tied.keys(), key=lambda n: (-every[n].dtype.itemsize, n))
    entries: dict[str, Entry] = {}
    at = 0
    for name in stored:
        dtype, shape, _ = every[name]
        end = at + math.prod(shape) * dtype.itemsize
        entries[name] = Entry(dtype, shape, at, end)
        at = end
    notes = {"format": "pt", **(metadata or {})}
    if tied:
        notes[TIED] = json.dumps(tied, sort_keys=True)
    try:
        with atomic_write(path) as aside:
            if shutil.disk_usage(aside.parent).free < at:
                raise OSError(errno.ENOSPC, f"{at / 1e9:.1f} GB are needed")
            with aside.open("wb") as file:
                file.write(compose(entries, notes))
                for part in _parts(weights, stored):
                    _write(part, file)
    except OSError as error:
        raise OSError(f"{path}: cannot be written: {error.strerror or error}") from error


def _parts(weights: Weights, names: Sequence[str]) -> Iterable[Tensor]:
    return (
        weights.blocks(names) if isinstance(weights, LazyWeights) else (weights[n] for n in names)
    )


def _write(tensor: Tensor, file: BinaryIO) -> None:
    if tensor.numel():
        flat = tensor.detach().cpu().contiguous().view(-1)
        file.write(flat.view(torch.uint8).numpy().data)
