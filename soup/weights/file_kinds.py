"""Files and folders of weights in formats that are not read here, told by their first bytes.

A name lies more often than the bytes: a download may be a page of HTML, a `.pth.tar` no archive.
"""

import glob
import re
import struct
import tarfile
import zipfile
from contextlib import closing
from itertools import islice
from pathlib import Path
from shlex import quote
from typing import Any

from soup.errors import some
from soup.files import ShortReads

# Version 0.8.0 of safetensors writes the numbers of other arrays in a wrong order, without an error
# (safetensors/safetensors#825), and .npy files keep the order in memory that their arrays had.
SAVE_ARRAYS = "safetensors.numpy.save_file, of each array numpy.ascontiguousarray(ARRAY)"
# What a file begins with, what it is, and what to do.
BEGINNINGS: list[tuple[bytes, str]] = [
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself; run git lfs pull"),
    (b"/annex/objects/", "a pointer of git-annex, not the file itself; run git annex get"),
    (b"GGUF", "a GGUF file (llama.cpp); import the checkpoint that it was converted from"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras); its network is not one of torch"),
    (b"\x93NUMPY", f"an array of NumPy; save the tensors by name: {SAVE_ARRAYS}"),
    (b"\x1f\x8b", "compressed by gzip; unpack it first: gunzip, or tar -xzf"),
    (b"BZh", "compressed by bzip2; unpack it first: bunzip2"),
    (b"\xfd7zXZ", "compressed by xz; unpack it first: unxz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd; unpack it first: unzstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it first, and import the weights in it"),
    (b"Rar!", "a RAR archive; unpack it first, and import the weights in it"),
]
# Formats whose beginning says little, by the end of the name.
ENDINGS: dict[str, str] = {
    ".onnx": "an ONNX file, a graph for inference; import the checkpoint that was exported",
    ".msgpack": "a msgpack file (Flax); its network is not one of torch",
    ".distcp": "a part of a checkpoint of torch.distributed; import its whole folder",
    ".dvc": "a pointer of DVC, not the file itself; run dvc pull, and name the file beside it",
    ".tflite": "a TensorFlow Lite file; import the checkpoint that was exported",
    ".pb": "a graph of TensorFlow; its network is not one of torch",
    ".mlmodel": "a Core ML file; import the checkpoint that was exported",
    ".engine": "an engine of TensorRT; import the checkpoint that was exported",
    ".pdparams": "a file of PaddlePaddle; its network is not one of torch",
}
PAGE = (
    "not a checkpoint that torch can read ({}, as a server sends it in place of a file that is "
    "missing or wants a login); fetch or save it again"
)
# Names in a folder (patterns of Path.glob), what the folder is, and what to do.
FOLDERS: list[tuple[str, str]] = [
    (
        "*.distcp",
        "a checkpoint of torch.distributed; make one file of it first: soup import {path} --out "
        "NEW.safetensors (it needs the folder's .metadata and every .distcp)",
    ),
    (
        "**/*_optim_states.pt",
        "a checkpoint of DeepSpeed; make one file of it first: "
        "python zero_to_fp32.py {path} weights (a program that DeepSpeed lays beside it); "
        "then import weights",
    ),
    (
        "zero/*/fp32.pt",
        "a universal checkpoint of DeepSpeed, a file for each weight; import the consolidated "
        "file, which zero_to_fp32.py makes of the checkpoint that this was converted from",
    ),
    (
        "adapter_model.*",
        "an adapter of PEFT, not a whole model; soup cook --base BASE averages adapters, and "
        "soup import {path} --base BASE --out NEW.safetensors makes a whole model of one",
    ),
    ("saved_model.pb", "a SavedModel of TensorFlow; its network is not one of torch"),
    (
        "_CHECKPOINT_METADATA",
        "a checkpoint of Orbax (JAX); save its arrays by name: safetensors.flax.save_file",
    ),
    ("Manifest.json", "a Core ML package; import the checkpoint that was exported"),
]


# What programs for tensor parallelism call the file or folder of a rank.
RANK = re.compile(
    r"(?<![a-z])(?:mp|tp|tensor_parallel|model_parallel)[_-]?rank[_-]?(\d+)"
    r"|^consolidated\.(\d+)\.|^model-rank-(\d+)-part-",  # Llama, vLLM
    re.IGNORECASE,
)
ONE_RANK = (
    "one tensor-parallel rank of a model, with a part of its weights; make one file of all ranks "
    "with the program that wrote them, and give that"
)


# What DeepSpeed calls the part of a process: optimizer states, and weights of ZeRO-3.
ZERO = re.compile(r"(bf16_|fp16_)?zero_pp_rank_\d+_.*\.pt$|.*_optim_states\.pt$")
SHARD_OF_DEEPSPEED = (
    "a shard of DeepSpeed, which one process wrote; make one file of all shards first: python "
    "zero_to_fp32.py {folder} weights (a program that DeepSpeed lays beside them); then import "
    "weights"
)


def _shard_of_deepspeed(path: Path) -> str:
    """What a shard of DeepSpeed is, and the command that joins them; '' for other files."""
    if not ZERO.match(path.name):
        return ""
    above = path.parent.parent  # a step's folder is in that of the run, which names the last step
    folder = above if (above / "latest").is_file() else path.parent
    return SHARD_OF_DEEPSPEED.format(folder=quote(str(folder)))


def one_rank(path: Path) -> str:
    """What a file of one of several tensor-parallel ranks is, and what to do; '' for others."""
    for part in (path, path.parent):
        if found := RANK.search(part.name):
            number = found.span(found.lastindex or 0)
            before, after = part.name[: number[0]], part.name[number[1] :]
            pattern = f"{glob.escape(before)}[0-9]*{glob.escape(after)}"
            ranks = [p for p in part.parent.glob(pattern) if (p / path.relative_to(part)).exists()]
            digits = part.name[slice(*number)]
            return ONE_RANK if int(digits) > 0 or len(ranks) > 1 else ""
    return ""


def foreign(path: Path) -> str:
    """What a file or folder is, if it is none of safetensors and torch, and what to do; else ''.

    Raises:
        OSError: the file cannot be read.
    """
    if path.is_dir():
        kinds = (kind for pattern, kind in FOLDERS if next(path.glob(pattern), None))
        return next(kinds, "").format(path=quote(str(path)))
    if part := one_rank(path) or _shard_of_deepspeed(path):
        return part
    with path.open("rb") as file:
        start = file.read(512)
    begun = [kind for beginning, kind in BEGINNINGS if start.startswith(beginning)]
    if begun or path.suffix in ENDINGS:
        return [*begun, ENDINGS.get(path.suffix, "")][0]
    if start.startswith(b"PK"):
        return _zip(path)
    if start[257:262] == b"ustar":
        name = "a .nemo file, which is a tar archive" if path.suffix == ".nemo" else "a tar archive"
        return f"{name}{_members(path)}; unpack it first, and import the weights in it"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    page = text.startswith((b"<!doctype", b"<html", b"<?xml"))
    return PAGE.format("a page of the web" if page else "JSON") if page or text[:2] == b'{"' else ""


def _members(path: Path) -> str:
    """' of ' with the first names in a tar archive; '' if they cannot be read."""
    try:
        short: Any = ShortReads(path.open("rb"))
        with closing(short), tarfile.open(fileobj=short, mode="r:") as archive:
            members = islice(archive, 20)
            names = [m.name.removeprefix("./")[:80] for m in members if m.isfile()]
    except (tarfile.TarError, OSError, ValueError):
        return ""
    return f" of {some(names, 5)}" if names else ""


def _zip(path: Path) -> str:
    if not zipfile.is_zipfile(path):
        return ""  # cut short
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError, OverflowError):
        return "a zip archive that is damaged; fetch or save it again"
    if any(name.endswith("/data.pkl") for name in names):
        return ""  # a file of torch.save
    if any(name.endswith(".weights.h5") for name in names):
        return "a file of Keras; its network is not one of torch"
    if names and all(name.endswith(".npy") for name in names):
        return f"arrays of NumPy (.npz); save them as tensors: {SAVE_ARRAYS}"
    return f"a zip archive of {some(names, 5)}; unpack it first, and import the weights in it"
