"""Folders and shards are found, read whole, and what is missing of them is named."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from soup.models.conversion import FormatError, convert
from soup.weights.checkpoint import Checkpoint
from soup.weights.shards import CheckpointError

WEIGHTS = {f"layer.{i}.w": torch.full((3,), float(i)) for i in range(11)}
BIN = "pytorch_model.bin.index.json"


def torch_save(weights: dict[str, Tensor], path: Path) -> None:
    torch.save(weights, path)


def sharded(folder: Path, suffix: str = "bin", index: str = BIN, shards: int = 3) -> dict[str, str]:
    """Weights dealt out over shards, beside their index, which is returned."""
    where = {n: f"part-{i % shards}.{suffix}" for i, n in enumerate(WEIGHTS)}
    for file in set(where.values()):
        held = {n: t for n, t in WEIGHTS.items() if where[n] == file}
        (torch_save if suffix == "bin" else save_file)(held, folder / file)
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return where


def assert_whole(path: Path) -> None:
    written = load_file(path)
    assert written.keys() == WEIGHTS.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in WEIGHTS.items())


@pytest.mark.parametrize("at_index", [True, False])
def test_torch_shards_become_one_file(tmp_path: Path, at_index: bool) -> None:
    sharded(tmp_path)
    found = convert(tmp_path / BIN if at_index else tmp_path, tmp_path / "out" / "w")
    assert_whole(tmp_path / "out" / "w")
    assert found.layout == "Hugging Face"


def test_safetensors_shards_become_one_file_with_the_digest_of_a_checkpoint(tmp_path: Path) -> None:
    sharded(tmp_path, "safetensors", "model.safetensors.index.json")
    found = convert(tmp_path, tmp_path / "w")
    assert_whole(tmp_path / "w")
    assert found.sha256 == Checkpoint(tmp_path).digest()


@pytest.mark.parametrize(
    "name", ["model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin"]
)
def test_a_folder_stands_for_the_weights_in_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    (torch_save if name.endswith("bin") else save_file)(WEIGHTS, tmp_path / name)
    found = convert(tmp_path, tmp_path / "w")
    assert_whole(tmp_path / "w")
    assert found.layout == "Hugging Face"
    assert found.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


def test_safetensors_are_preferred_to_a_pickle(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    torch.save({"another": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    convert(tmp_path, tmp_path / "w")
    assert_whole(tmp_path / "w")


def test_safetensors_under_another_name_are_recognised(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "w.bin")
    convert(tmp_path / "w.bin", tmp_path / "w")
    assert_whole(tmp_path / "w")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"nowhere.pt: no such file or folder"):
        convert(tmp_path / "nowhere.pt", tmp_path / "w")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "last.ckpt").touch()
    with pytest.raises(FormatError, match=r"folder: this folder has none.*here: last.ckpt"):
        convert(tmp_path / "folder", tmp_path / "w")


def test_every_missing_shard_is_named(tmp_path: Path) -> None:
    sharded(tmp_path)
    (tmp_path / "part-0.bin").unlink()
    (tmp_path / "part-2.bin").unlink()
    with pytest.raises(FormatError, match=f"{BIN}: missing shards: part-0.bin, part-2.bin;"):
        convert(tmp_path, tmp_path / "w")


def test_every_tensor_that_shards_lack_is_named(tmp_path: Path) -> None:
    sharded(tmp_path)
    torch.save({"layer.0.w": torch.ones(1)}, tmp_path / "part-0.bin")
    lost = r"lack layer.3.w \(in part-0.bin\), layer.6.w \(in part-0.bin\), layer.9.w"
    with pytest.raises(FormatError, match=lost):
        convert(tmp_path, tmp_path / "w")
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    "index", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 1}}']
)
def test_a_damaged_index_is_an_error_that_names_it(tmp_path: Path, index: str) -> None:
    (tmp_path / BIN).write_text(index)
    with pytest.raises((FormatError, CheckpointError), match=BIN):
        convert(tmp_path, tmp_path / "w")


def test_an_index_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "outside.bin")
    (tmp_path / "model").mkdir()
    where = dict.fromkeys(WEIGHTS, "../outside.bin")
    (tmp_path / "model" / BIN).write_text(json.dumps({"weight_map": where}))
    with pytest.raises(CheckpointError, match=r"\.\./outside.bin"):
        convert(tmp_path / "model", tmp_path / "w")


def test_a_shard_is_never_overwritten(tmp_path: Path) -> None:
    sharded(tmp_path)
    with pytest.raises(FormatError, match=r"part-1.bin: is part of what is to be imported"):
        convert(tmp_path, tmp_path / "part-1.bin")


def test_truncated_safetensors_are_named(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "s.safetensors")
    data = (tmp_path / "s.safetensors").read_bytes()
    for size in [len(data) - 1, 20, 4, 0]:
        (tmp_path / "s.safetensors").write_bytes(data[:size])
        with pytest.raises(CheckpointError, match=r"s.safetensors: not a readable safetensors"):
            convert(tmp_path / "s.safetensors", tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_a_pointer_of_git_lfs_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(FormatError, match=r"m.bin: a pointer of Git LFS.*git lfs pull"):
        convert(tmp_path / "m.bin", tmp_path / "w")
