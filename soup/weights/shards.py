"""Find the safetensors files of a model: one file, a folder or the index of a sharded model."""

from pathlib import Path
from shlex import quote

from soup import limits
from soup.errors import BadInput
from soup.files import parse_json, read_bytes
from soup.weights.file_kinds import foreign, one_rank
from soup.weights.local_file import LocalFile
from soup.weights.remote_file import RemoteFile

# The names that transformers, timm and others give to the files of a model.
WEIGHTS_FILE = "model.safetensors"
INDEX = f"{WEIGHTS_FILE}.index.json"


LONGEST_NAME = 255  # bytes of a file's name; the limit of file systems


class CheckpointError(BadInput, ValueError):
    """A weights file cannot be used; the message names it."""


def open_file(file: str) -> LocalFile | RemoteFile:
    return RemoteFile(file) if is_remote(file) else LocalFile(file)


def is_remote(path: str) -> bool:
    """Whether a path is a URL; a file or folder of this machine may have a colon in its name."""
    return "://" in path and not Path(path).exists()


def files_of(path: str) -> list[str]:
    """Return the paths or URLs of the safetensors files of a model.

    Args:
        path: a file, a folder, an index (.json), or the URL of a file or an index.

    Raises:
        CheckpointError: the index cannot be read, or the folder holds no safetensors.
    """
    if path.endswith(".json"):
        base = path.rpartition("/")[0] if is_remote(path) else str(Path(path).parent)
        return [f"{base}/{name}" for name in sorted(set(read_index(path).values()))]
    if not is_remote(path) and Path(path).is_dir():
        for name in (WEIGHTS_FILE, INDEX):
            if (Path(path) / name).is_file():
                return files_of(str(Path(path) / name))
        if kind := foreign(Path(path)):
            raise CheckpointError(f"{path}: {kind}")
        raise CheckpointError(
            f"{path}: a folder without {WEIGHTS_FILE} or {INDEX}; "
            "other formats are converted by 'soup import'"
        )
    if not is_remote(path) and (rank := one_rank(Path(path))):
        raise CheckpointError(f"{path}: {rank}")
    return [path]


def read_index(path: str) -> dict[str, str]:
    """Read the index of a sharded model.

    Args:
        path: the index (.json, or its URL), or the folder that holds it.

    Returns:
        The file name of each tensor, by tensor name.

    Raises:
        CheckpointError: the index cannot be read, or names a file outside its folder.
    """
    index = path if path.endswith(".json") else str(Path(path) / INDEX)
    try:
        if is_remote(index):
            import fsspec

            with fsspec.open(index, "rb") as file:
                raw = file.read(limits.JSON_BYTES + 1)
        else:
            raw = read_bytes(index)
        file_names: dict[str, str] = parse_json(raw, "it")["weight_map"]
        if not file_names:
            raise CheckpointError(f"{index}: names no tensor")
        strange = [name for pair in file_names.items() for name in pair if not name.isprintable()]
        strange += [name for name in file_names.values() if len(name.encode()) > LONGEST_NAME]
        if strange:
            raise CheckpointError(f"{index}: a name in it is none: {strange[0][:100]!r}")
        # An index from the web must not make this process read any other file of the machine.
        outside = [n for n in file_names.values() if Path(n).name != n or n == ".."]
        if outside:
            raise CheckpointError(f"{index}: names a file outside its folder: {outside[0]}")
        return file_names
    except (OSError, KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        if Path(index).is_file() and (kind := foreign(Path(index))) and "JSON" not in kind:
            raise CheckpointError(f"{index}: {kind}") from None
        raise CheckpointError(
            f"{index}: not an index of a sharded model (JSON with a 'weight_map'): {error!r}"
        ) from None


def unreadable(file: str, error: Exception) -> CheckpointError:
    """Return the error to raise for a file that cannot be opened, with the remedy for pickles."""
    path = Path(file)
    missing = isinstance(error, FileNotFoundError)
    if missing and not is_remote(file):
        return CheckpointError(f"{file}: no such file or folder")
    if path.is_file() and (kind := foreign(path)):
        return CheckpointError(f"{file}: {kind}")
    new = path.with_suffix(".safetensors")
    out = quote(str(new)) if new != path else "NEW.safetensors"
    convert = f"convert it once: soup import {quote(file)} --out {out}"
    if path.suffix in {".pt", ".pth", ".bin", ".ckpt", ".pkl"}:
        return CheckpointError(
            f"{file}: not safetensors, and pickles are not opened here; {convert}"
        )
    reason = "no such file" if missing else " ".join(str(error).split())
    remedy = f"; it is a file of torch.save: {convert}" if _is_zip(path) else ""
    return CheckpointError(f"{file}: not a readable safetensors file: {reason}{remedy}")


def _is_zip(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as start:
        return start.read(2) == b"PK"
