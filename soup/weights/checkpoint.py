"""Checkpoints in safetensors files: read lazily from disk or a server, and written atomically."""

import errno
import json
import math
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError
from torch import Tensor

from soup.errors import some
from soup.files import atomic_write, parse_json
from soup.weights.algebra import cast
from soup.weights.digesting import of_shards
from soup.weights.local_file import LocalFile, memory_of
from soup.weights.mapping import LazyWeights, Reader, Spec, Weights, specs
from soup.weights.remote_file import RemoteFile
from soup.weights.safetensors_header import DTYPE_NAMES, Entry, encode_header
from soup.weights.shards import (
    CheckpointError,
    files_of,
    open_file,
    read_index,
    unreadable,
)
from soup.weights.write_back import write_back

# Metadata key of a JSON object that maps each tied name to the name that holds its tensor.
TIED = "soup.tied"
WRITTEN_BACK = 16 << 20  # bytes between two calls of `write_back`


class Checkpoint(LazyWeights):
    """Weights in safetensors files as a mapping that reads each tensor on access and keeps none.

    Attributes:
        path: as given.
        files: the paths or URLs of the safetensors files: one, or all shards.
        metadata: the `metadata` that was given to `save`.
    """

    def __init__(self, path: str | Path) -> None:
        """
        Read the headers of the files, but no tensor.

        Args:
            path: a safetensors file; the index (.json) of a sharded model; a folder with either of
                them, as Hugging Face lays it out; or the URL of a file or an index, with any
                protocol that fsspec reads (https://, s3://, ...).

        Raises:
            CheckpointError: a file is missing, cut short, not safetensors, or contradicts its
                index; the message names the file.
        """
        self.path = str(path)
        self.files = files_of(self.path)
        self.metadata: dict[str, str] = {}
        self._file_of: dict[str, LocalFile | RemoteFile] = {}
        tensors: dict[str, Spec] = {}
        tied: dict[str, str] = {}
        for file in self.files:
            try:
                opened = open_file(file)
                self.metadata |= opened.metadata
                tied |= _ties(self.metadata.pop(TIED, "{}"), opened.entries)
                # `safetensors.torch.save_model` notes a tied tensor as such an entry of its own.
                notes = self.metadata.items()
                tied |= {n: t for n, t in notes if t in opened.entries and n not in opened.entries}
            except (OSError, SafetensorError, ValueError, RecursionError) as error:
                raised = unreadable(file, error)
                if self.path not in file:
                    raised = CheckpointError(f"{raised}; {self.path} names this file")
                raise raised from None
            for name, entry in opened.entries.items():
                if name in tensors:
                    raise CheckpointError(f"{self.path}: {name} is in two of its files")
                tensors[name] = Spec(entry.dtype, entry.shape, name)
                self._file_of[name] = opened
        self._require_index(tensors)
        tensors |= {name: tensors[first]._replace(tied=first) for name, first in tied.items()}
        self.metadata = {k: v for k, v in self.metadata.items() if k not in {"format", *tied}}
        self.specs = dict(sorted(tensors.items()))

    def __getitem__(self, name: str) -> Tensor:
        stored = self.specs[name].tied
        return self._file_of[stored].get_tensor(stored)

    def reader(self, name: str) -> Reader:
        stored = self.specs[name].tied
        return self._file_of[stored].reader(stored)

    def read_into(self, out: Tensor, name: str) -> None:
        stored = self.specs[name].tied
        self._file_of[stored].read_into(out, stored)

    def digest(self) -> str:
        """Return the SHA-256 of the file; of several files, that of the output of `sha256sum`.

        The digest of a file on a server is the identity that the server states (`RemoteFile`),
        because downloading the whole file to hash it would cost more than averaging it.

        Raises:
            Changed: a file was changed or replaced since it was opened.
        """
        digest = of_shards(self.files)
        self.require_unchanged()
        return digest

    def require_unchanged(self) -> None:
        """Raise `Changed` if a file on this machine was changed or replaced since it was opened."""
        for file in {*self._file_of.values()}:
            if isinstance(file, LocalFile):
                file.require_unchanged()

    def __str__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        return f"Checkpoint({self.path!r})"

    def _require_index(self, tensors: Mapping[str, Spec]) -> None:
        """Raise `CheckpointError` if the index of a sharded model names tensors no file holds."""
        if not self.path.endswith(".json") and len(self.files) == 1:
            return
        missing = sorted(read_index(self.path).keys() - tensors.keys())
        if missing:
            raise CheckpointError(
                f"{self.path}: its files lack {some(missing, 5, last=' ')}, which its index names"
            )


def _ties(text: str, stored: Collection[str]) -> dict[str, str]:
    """Read the names of tied tensors, each with the name of the tensor that is stored."""
    ties = parse_json(text, f"{TIED!r} in its metadata")
    if not isinstance(ties, dict) or not all(
        isinstance(t, str) and t in stored for t in ties.values()
    ):
        raise ValueError(f"{TIED!r} in its metadata does not name tensors of the file: {text[:80]}")
    return ties


def save(
    weights: Weights,
    path: str | Path,
    metadata: Mapping[str, str] | None = None,
    dtype: torch.dtype | None = None,
    *,
    advance: Callable[[float], object] = lambda _: None,
    complete: Callable[[], Mapping[str, str]] | None = None,
) -> None:
    """Write weights to a safetensors file, atomically; the same weights give the same bytes.

    A lazy mapping is computed and written block by block, so that it is never in memory as a whole.
    Tensors that share memory are written once, and the metadata lists their other names.

    Args:
        weights: tensors by name.
        path: of the file to write; missing folders are created.
        metadata: strings to store in the header of the file.
        dtype: of the floating-point tensors in the file; by default their own. Numbers of a lazy
            mapping are rounded once.
        advance: called after each block with the share of the tensors' bytes that was written.
        complete: called when all tensors are written; returns the metadata that is stored in place
            of `metadata`, and as long as it.

    Raises:
        OSError: the disk is full or the folder cannot be written; nothing is left behind.
        CheckpointError: safetensors has no name for a tensor's dtype.
        NotFinite: a number is NaN, infinite or too large for the dtype.
    """
    weights = weights if dtype is None else cast(weights, dtype)
    tensors = specs(weights)
    unknown = [f"{name} ({s.dtype})" for name, s in tensors.items() if s.dtype not in DTYPE_NAMES]
    if unknown:
        raise CheckpointError(f"{path}: safetensors cannot hold {', '.join(unknown[:5])}")
    tied = {name: spec.tied for name, spec in tensors.items() if spec.tied != name}
    # The order of the safetensors library: wide numbers first, so that all of them are aligned.
    stored = sorted(tensors.keys() - tied.keys(), key=lambda n: (-tensors[n].dtype.itemsize, n))
    entries: dict[str, Entry] = {}
    size = 0
    for name in stored:
        dtype, shape, _ = tensors[name]
        end = size + math.prod(shape) * dtype.itemsize
        entries[name] = Entry(dtype, shape, size, end)
        size = end

    def header(metadata: Mapping[str, str]) -> bytes:
        ties = {TIED: json.dumps(tied, sort_keys=True)} if tied else {}
        return encode_header(entries, {"format": "pt", **metadata, **ties})

    start = header(metadata or {})
    blocks = weights.blocks(stored) if isinstance(weights, LazyWeights) else None
    try:
        with atomic_write(path) as temporary:
            if shutil.disk_usage(temporary.parent).free < size:
                raise OSError(errno.ENOSPC, f"{size / 1e9:.1f} GB are needed")
            with temporary.open("wb") as file:
                file.write(start)
                file.flush()
                for done in _written(blocks or (weights[name] for name in stored), file):
                    advance(done / size)
                if complete is not None:
                    final = header(complete())
                    if len(final) != len(start):
                        raise ValueError("the complete metadata is not as long as what it replaces")
                    file.seek(0)
                    file.write(final)
    except OSError as error:
        raise OSError(f"{path}: cannot be written: {error.strerror or error}") from error


def _written(blocks: Iterable[Tensor], file: BinaryIO) -> Iterator[int]:
    """Write tensors one after another, and tell after each how many bytes were written in all.

    The disk gets the bytes from the start on, so that little is left to wait for at the end.
    """
    done = sent = 0
    for tensor in blocks:
        if not tensor.numel():
            continue
        values = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
        file.write(memory_of(values))
        done += values.nbytes
        if done - sent >= WRITTEN_BACK:
            write_back(file.fileno(), sent)
            sent = done
        yield done
