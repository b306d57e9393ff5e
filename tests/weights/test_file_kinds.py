"""A file or folder of another format is named for what it is, with what to do, at both doors."""

import gzip
import io
import tarfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributed import checkpoint as distributed

from soup.models.conversion import FormatError, convert
from soup.weights.checkpoint import Checkpoint
from soup.weights.file_kinds import foreign
from soup.weights.shards import CheckpointError


def packed(names: list[str], kind: str) -> bytes:
    """An archive whose members hold a file of torch."""
    weights, archive = io.BytesIO(), io.BytesIO()
    torch.save({"w": torch.ones(3)}, weights)
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as files:
            for name in names:
                files.writestr(name, weights.getvalue())
        return archive.getvalue()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(weights.getvalue())
            tar.addfile(member, io.BytesIO(weights.getvalue()))
    return archive.getvalue()


def array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.ones(3))
    return file.getvalue()


FILES: dict[str, tuple[bytes, str]] = {
    "lfs.safetensors": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
        "git lfs pull",
    ),
    "lfs.pt": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
    "annex.pt": (b"/annex/objects/SHA256E-s1--2.pt\n", "git annex get"),
    "w.safetensors.dvc": (b"outs:\n- md5: 0\n", "pointer of DVC.*dvc pull"),
    "llama.gguf": (b"GGUF\x03\x00\x00\x00", "a GGUF file"),
    "renamed.bin": (b"GGUF\x03\x00\x00\x00", "a GGUF file"),
    "net.onnx": (b"\x08\x0a\x12\x07pytorch", "an ONNX file.*import the checkpoint"),
    "w.h5": (b"\x89HDF\r\n\x1a\n\x00", "an HDF5 file"),
    "net.keras": (packed(["config.json", "model.weights.h5"], "zip"), "a file of Keras"),
    "flax_model.msgpack": (b"\x81\xa1w\xc4\x03123", "a msgpack file"),
    "w.npy": (array(), "an array of NumPy.*ascontiguousarray"),
    "w.npz": (packed(["a.npy", "b.npy"], "zip"), r"arrays of NumPy \(.npz\).*ascontiguous"),
    "w.pt.gz": (gzip.compress(b"weights"), "compressed by gzip.*gunzip"),
    "w.zip": (packed(["a.pt", "b.pt"], "zip"), "a zip archive of a.pt, b.pt; unpack it first"),
    "m.nemo": (
        packed(["./c.yaml", "./model_weights.ckpt"], "tar"),
        "a .nemo file, which is a tar archive of c.yaml, model_weights.ckpt; unpack it first",
    ),
    "m.tar": (packed(["./w.pt"], "tar"), "a tar archive of w.pt; unpack it first"),
    "page.safetensors": (b"\n<!DOCTYPE html><html></html>", "a page of the web.*fetch or save"),
    "denied.pt": (b"<?xml version='1.0'?><Error>", "a page of the web"),
    "error.safetensors": (b'{"error": "Repository not found"}', "JSON, as a server sends it"),
    "zero_pp_rank_1_mp_rank_00_optim_states.pt": (
        packed(["a/data.pkl"], "zip"),
        r"a shard of DeepSpeed.*python zero_to_fp32\.py .* weights",
    ),
    "zero_pp_rank_0_mp_rank_00_model_states.pt": (b"PK", "a shard of DeepSpeed"),
    "__0_0.distcp": (packed(["a/data.pkl"], "zip"), "torch.distributed; import its whole folder"),
}
FOLDERS: dict[str, tuple[list[str], str]] = {
    "DeepSpeed": (
        ["latest", "global_step9/zero_pp_rank_0_mp_rank_00_optim_states.pt"],
        "zero_to_fp",
    ),
    "a step of DeepSpeed": (["bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"], "zero_to_fp32.py"),
    "DeepSpeed, universal": (["zero/layer.w/fp32.pt", "latest"], "universal checkpoint of DeepSp"),
    "PEFT": (["adapter_config.json", "adapter_model.safetensors"], "adapter of PEFT.*--base"),
    "TensorFlow": (["saved_model.pb", "variables/variables.index"], "a SavedModel of TensorFlow"),
    "Orbax": (["_CHECKPOINT_METADATA", "manifest.ocdbt"], "a checkpoint of Orbax"),
}


def refused(path: Path, wanted: str) -> None:
    with pytest.raises(FormatError, match=f"{path.name}: {wanted}"):
        convert(path, path.parent / "out")
    with pytest.raises(CheckpointError, match=f"{path.name}: {wanted}"):
        Checkpoint(path)


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_named_for_what_it_is(tmp_path: Path, name: str) -> None:
    data, wanted = FILES[name]
    (tmp_path / name).write_bytes(data)
    refused(tmp_path / name, f".*{wanted}")


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_named_for_what_it_is(tmp_path: Path, name: str) -> None:
    files, wanted = FOLDERS[name]
    for file in files:
        (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name / file).touch()
    refused(tmp_path / name, f".*{wanted}")


def test_a_folder_of_torch_distributed_is_named_with_a_command_that_works(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        distributed.save({"model": {"w": torch.ones(3)}}, checkpoint_id=str(tmp_path / "step"))
    command = f"soup import {tmp_path / 'step'} --out"
    with pytest.raises(CheckpointError, match=f"a checkpoint of torch.distributed.*{command}"):
        Checkpoint(tmp_path / "step")
    convert(tmp_path / "step", tmp_path / "w")
    assert torch.equal(Checkpoint(tmp_path / "w")["w"], torch.ones(3))


def test_an_index_that_is_a_pointer_is_named_for_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text("version https://git-lfs.github.com/spec/v1")
    for source in (path, tmp_path):
        with pytest.raises(
            CheckpointError, match=r"index.json: a pointer of Git LFS.*git lfs pull"
        ):
            Checkpoint(source)
        with pytest.raises(
            CheckpointError, match=r"index.json: a pointer of Git LFS.*git lfs pull"
        ):
            convert(source, tmp_path / "w")
    path.write_bytes(b'{"weight_map": \xff}')
    with pytest.raises(CheckpointError, match="not an index of a sharded model"):
        Checkpoint(path)


def test_files_of_torch_and_safetensors_are_none_of_these(tmp_path: Path) -> None:
    for options in ({}, {"_use_new_zipfile_serialization": False}):
        torch.save({"w": torch.ones(3)}, tmp_path / "w.pth.tar", **options)
        assert foreign(tmp_path / "w.pth.tar") == ""
        convert(tmp_path / "w.pth.tar", tmp_path / "w.safetensors")
        assert foreign(tmp_path / "w.safetensors") == ""
    torch.save({"w": torch.ones(3)}, tmp_path / "renamed.safetensors")
    with pytest.raises(CheckpointError, match=r"it is a file of torch.save: .*soup import"):
        Checkpoint(tmp_path / "renamed.safetensors")
