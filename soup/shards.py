"""Which files a model's weights are in, and what each of them holds."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from safetensors import safe_open

from soup.errors import BadInput
from soup.layout import DTYPES
from soup.remote import RemoteFile

INDEX = "model.safetensors.index.json"


class CheckpointError(BadInput, ValueError):
    """A weights file that cannot be used; the message names it."""


class Opened:
    """A file's tensors, dtypes and shapes, and its metadata."""

    def __init__(self, file: Any, specs: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
        self.file, self.specs, self.metadata = file, specs, metadata


def open_file(file: str) -> Opened:
    if is_remote(file):
        remote = RemoteFile(file)
        return Opened(
            remote, {n: (e.dtype, e.shape) for n, e in remote.entries.items()}, remote.metadata
        )
    local: Any = safe_open(file, framework="pt")
    slices = {name: local.get_slice(name) for name in local.keys()}  # noqa: SIM118
    specs = {n: (DTYPES[s.get_dtype()], tuple(s.get_shape())) for n, s in slices.items()}
    return Opened(local, specs, local.metadata() or {})


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
