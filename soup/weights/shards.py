"""Which files a model's weights are in, and what each of them holds."""

import json
from pathlib import Path
from urllib.parse import urlsplit

from soup.errors import BadInput
from soup.weights.local_file import LocalFile
from soup.weights.remote_file import RemoteFile

INDEX = "model.safetensors.index.json"


class CheckpointError(BadInput, ValueError):
    """A weights file that cannot be used; the message names it."""


def open_file(file: str) -> LocalFile | RemoteFile:
    return RemoteFile(file) if is_remote(file) else LocalFile(file)


def is_remote(path: str) -> bool:
    return len(urlsplit(path).scheme) > 1  # one letter is a drive


def files_of(path: str) -> list[str]:
    """The safetensors files behind a path."""
    if path.endswith(".json"):
        base = path.rpartition("/")[0] if is_remote(path) else str(Path(path).parent)
        return [f"{base}/{name}" for name in sorted(set(index_of(path).values()))]
    if not is_remote(path) and Path(path).is_dir():
        for name in ("model.safetensors", INDEX):
            if (Path(path) / name).is_file():
                return files_of(str(Path(path) / name))
        raise CheckpointError(
            f"{path}: a folder without model.safetensors or {INDEX}; "
            "other formats are converted by 'soup import'"
        )
    return [path]


def index_of(path: str) -> dict[str, str]:
    """Tensor name -> file name, of a sharded model."""
    at = path if path.endswith(".json") else str(Path(path) / INDEX)
    try:
        if is_remote(at):
            import fsspec

            with fsspec.open(at, "rb") as file:
                raw = file.read()
        else:
            raw = Path(at).read_bytes()
        found: dict[str, str] = json.loads(raw)["weight_map"]
        # A name that leads elsewhere would open files that nobody named.
        outside = [name for name in found.values() if Path(name).name != name]
        if outside:
            raise CheckpointError(f"{at}: names a file outside its folder: {outside[0]}")
        return found
    except (OSError, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{at}: not an index of a sharded model (JSON with a 'weight_map'): {error!r}"
        ) from None


def unreadable(file: str, error: Exception) -> CheckpointError:
    if Path(file).suffix in {".pt", ".pth", ".bin", ".ckpt", ".pkl"}:
        return CheckpointError(
            f"{file}: not safetensors, and pickles are not opened here; "
            f"convert it once: soup import {file} --out {Path(file).with_suffix('.safetensors')}"
        )
    missing = isinstance(error, FileNotFoundError)
    reason = "no such file" if missing else str(error)
    return CheckpointError(f"{file}: not a readable safetensors file: {reason}")
