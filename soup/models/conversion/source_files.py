"""The files of a source (one file, or shards with their index), and their content."""

from pathlib import Path
from typing import Any

from soup.errors import some
from soup.models.conversion.dcp_files import parts_of
from soup.models.conversion.errors import FormatError
from soup.models.conversion.pickle_reader import read
from soup.models.conversion.stand_ins import Outline
from soup.weights import materialize
from soup.weights.checkpoint import Checkpoint
from soup.weights.file_kinds import foreign
from soup.weights.shards import files_of, read_index

# Names of the weights in Hugging Face folders, in the order of preference.
FOLDER = (
    "model.safetensors",
    "model.safetensors.index.json",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_pytorch_model.bin",
)
INDEX = ".index.json"
NOT_REGULAR = "a pipe, device or socket, and only regular files are read"


def locate(source: Path) -> Path:
    """The file of a source to read first: the source itself, or the weights or index in a folder.

    A folder that `torch.distributed` wrote stands for itself.

    Raises:
        FormatError: the source does not exist, or is a folder without weights of a known name.
    """
    if source.is_dir():
        weights = [source / name for name in FOLDER if (source / name).is_file()]
        if weights:
            return weights[0]
        if parts_of(source):
            return source
        if kind := foreign(source):
            raise FormatError(f"{source}: {kind}")
        there = sorted(path.name for path in source.iterdir() if path.is_file())
        raise FormatError(
            f"{source}: this folder has none of {', '.join(FOLDER)}; name the file to import, "
            f"of those here: {', '.join(there[:10]) or 'none'}"
        )
    if not source.is_file():
        raise FormatError(
            f"{source}: {NOT_REGULAR if source.exists() else 'no such file or folder'}"
        )
    return source


def parts(first: Path) -> list[Path]:
    """The files that hold the tensors: the given file, or the shards if it is an index.

    Raises:
        FormatError: shards are missing; all of them are named.
        CheckpointError: the index is damaged.
    """
    if first.is_dir():
        return parts_of(first)
    if not first.name.endswith(INDEX):
        return [first]
    shards = [Path(file) for file in files_of(str(first))]
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise FormatError(f"{first}: missing shards: {', '.join(missing)}; fetch them too")
    return shards


def size_of(first: Path) -> int:
    """The bytes of the files that hold the tensors. Raises the errors of `parts`."""
    return sum(part.stat().st_size for part in parts(first))


def contents(first: Path) -> object:
    """The content of a file or of the shards of an index; tensors are read when they are used.

    Of a checkpoint of `torch.distributed` it is an `Outline`.

    Raises:
        FormatError: a file cannot be read, or shards lack tensors that their index names.
        CheckpointError: a safetensors file or an index is damaged.
    """
    if first.is_dir():
        from soup.models.conversion.dcp import DistributedWeights  # torch.distributed is slow

        weights = DistributedWeights(first)
        return Outline(weights, weights.keys_to)
    shards = parts(first)
    if shards == [first]:
        return _open(first)
    opened: dict[str, Any] = {shard.name: _open(shard) for shard in shards}
    where = read_index(str(first))
    lost = [
        f"{name} (in {file})"
        for name, file in where.items()
        if not isinstance(opened[file], dict) or name not in opened[file]
    ]
    if lost:
        raise FormatError(
            f"{first}: the shards lack {some(lost, 10, last=' ')}; they are of another model "
            "than the index, or damaged: fetch all of it again"
        )
    return {name: opened[file][name] for name, file in where.items()}


def _open(path: Path) -> object:
    if kind := foreign(path):
        raise FormatError(f"{path}: {kind}")
    with path.open("rb") as file:
        start = file.read(9)
    # safetensors begins with eight bytes of length and a JSON header; some such files end in .bin.
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return materialize(Checkpoint(path))
    return read(path)
