"""Checkpoints of `torch.distributed` (DCP), sharded or not, whose tensors are joined one by one.

torch's own reader joins them. Of the files of DCP, the table of contents is read by
`dcp_metadata`, and each part by `torch.load(weights_only=True)`; what is no tensor is left alone.
The other layout, written for Hugging Face, is in safetensors files, which hold no code.
"""

import io
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.state_dict_loader import load

from soup import limits
from soup.errors import some
from soup.models.conversion.dcp_files import HF_SHARD, METADATA_FILE, parts_of
from soup.models.conversion.dcp_metadata import read_table, require_whole, tensors_of
from soup.models.conversion.errors import FormatError
from soup.weights import LazyWeights, Spec
from soup.weights.checkpoint import Checkpoint


class _Window(io.RawIOBase):
    """The part of a file that begins at `start` and has `length` bytes, as a file of its own."""

    def __init__(self, file: IO[bytes], start: int, length: int) -> None:
        self._file, self._start, self._length, self._at = file, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        self._at = min(max(0, origin + offset), self._length)
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._at)
        read = self._file.read(min(len(buffer), self._length - self._at))
        buffer[: len(read)] = read
        self._at += len(read)
        return len(read)


class _Reader(FileSystemReader):
    """torch's reader of DCP, with a table that was read before, and bounds on what unpacks."""

    def __init__(self, folder: Path, table: Metadata) -> None:
        super().__init__(folder)
        self._table = table

    def read_metadata(self, *_: Any, **__: Any) -> Metadata:
        return self._table

    def _slice_file(self, file: IO[bytes], sinfo: Any) -> IO[bytes]:
        with zipfile.ZipFile(_Window(file, sinfo.offset, sinfo.length)) as part:
            size = sum(record.file_size for record in part.infolist())
        if size > limits.GROWTH * sinfo.length + limits.SLACK:
            raise FormatError(
                f"{self.path}: refused: a part of {sinfo.length:,} bytes unpacks to {size:,} "
                "(limit GROWTH in soup/limits.py)"
            )
        return super()._slice_file(file, sinfo)


class _SafetensorsReader(HuggingFaceStorageReader):
    """torch's reader of DCP in safetensors, with a table that was read before."""

    table: Metadata

    def read_metadata(self) -> Metadata:
        return self.table


class DistributedWeights(LazyWeights):
    """All tensors of a checkpoint of `torch.distributed`; each is read and joined on access.

    Attributes:
        folder: of the checkpoint.
        parts: its files.
        keys_to: the keys that lead to each entry in what was saved, also to those that are no
            tensors.
    """

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            FormatError: the checkpoint is damaged, or shards are missing.
        """
        self.folder = folder
        self.parts = parts_of(folder)
        pickled = self.parts[0].name == METADATA_FILE
        table = self._of_pickle() if pickled else self._of_safetensors()
        tensors = tensors_of(table)
        self.specs = {
            name: Spec(entry.properties.dtype, tuple(entry.size), name)
            for name, entry in tensors.items()
        }
        given = table.planner_data if isinstance(table.planner_data, dict) else {}
        self.keys_to = {
            name: tuple(map(str, keys)) if isinstance(keys, tuple) and keys else (name,)
            for name, keys in ((n, given.get(n)) for n in table.state_dict_metadata)
        }

    def _of_pickle(self) -> Metadata:
        table = read_table(self.folder)
        self._reader: FileSystemReader = _Reader(self.folder, table)
        return table

    def _of_safetensors(self) -> Metadata:
        for part in self.parts:
            Checkpoint(part)  # raises if it is damaged
        _require_every_file(self.folder, self.parts)
        reader = _SafetensorsReader(str(self.folder))
        try:
            table = HuggingFaceStorageReader.read_metadata(reader)
            tensors = tensors_of(table)
        except Exception as error:  # what a note of offsets may be
            raise FormatError(
                f"{self.folder}: the notes in its files do not say where each part of a tensor "
                f"belongs ({type(error).__name__}); fetch or save it again"
            ) from None
        try:
            require_whole(tensors)
        except FormatError as error:
            raise FormatError(f"{self.folder}: {error}") from None
        reader.table = table
        self._reader = reader
        return table

    def __getitem__(self, name: str) -> Tensor:
        spec = self.specs[name]
        # Zeros: a table that lies may leave holes, which would show what was in memory before.
        whole = {name: torch.zeros(spec.shape, dtype=spec.dtype)}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a process that is alone
                load(whole, storage_reader=self._reader, no_dist=True)
        except (Exception, CheckpointException) as error:  # which is no Exception
            failures = error.failures if isinstance(error, CheckpointException) else {}
            cause = next((failure[0] for failure in failures.values()), error)
            if isinstance(cause, FormatError):
                raise cause from None
            raise FormatError(
                f"{self.folder}: {name} cannot be read from its shards ({type(cause).__name__}); "
                "they are damaged, or not all of one checkpoint: fetch or save it again"
            ) from None
        return whole[name]

    def __str__(self) -> str:
        return str(self.folder)


def _require_every_file(folder: Path, parts: list[Path]) -> None:
    """Raise `FormatError` if the numbers in the names of files leave some out."""
    numbers = [tuple(map(int, HF_SHARD.fullmatch(p.name).groups())) for p in parts]  # type: ignore[union-attr]
    ranks, files = {rank for rank, _, _ in numbers}, {file for _, file, _ in numbers}
    missing = [f"shard-{n:05d}-..." for n in range(1, max(ranks)) if n not in ranks]
    total = max(of for _, _, of in numbers)
    missing += [f"...-model-{n:05d}-of-{total:05d}" for n in range(1, total + 1) if n not in files]
    if missing:
        raise FormatError(
            f"{folder}: shards are missing: {some(missing, 5)}; copy all of them into the folder"
        )
