"""A model in several files: its index, and what is wrong with one."""

import json
from pathlib import Path

import pytest
import torch

from soup.weights.checkpoint import Checkpoint, save
from soup.weights.shards import CheckpointError
from tests.files import different, sharded


def test_shards_are_read_as_one_by_their_index_or_their_folder(tmp_path: Path) -> None:
    weights = different(7)
    index = sharded(weights, tmp_path / "model")
    for path in (index, index.parent):
        kept = Checkpoint(path)
        assert list(kept) == sorted(weights)
        assert all(torch.equal(kept[name], weights[name]) for name in weights)
    assert len(Checkpoint(index).files) == 3


def test_a_shard_that_is_missing_or_lacks_a_tensor_is_named(tmp_path: Path) -> None:
    index = sharded(different(7), tmp_path / "model")
    save(different(1), tmp_path / "model" / "model-00003-of-00003.safetensors")
    with pytest.raises(CheckpointError, match="w00 is in two of its files"):
        Checkpoint(index)
    save({}, tmp_path / "model" / "model-00003-of-00003.safetensors")
    with pytest.raises(CheckpointError, match="its files lack w02, w05, which its index names"):
        Checkpoint(index)
    (tmp_path / "model" / "model-00003-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"00003-of-00003.safetensors: .*no such file"):
        Checkpoint(index)


def test_an_index_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    for name in ("../secret.safetensors", "/etc/secret.safetensors"):
        index.write_text(json.dumps({"weight_map": {"w": name}}))
        with pytest.raises(CheckpointError, match=f"outside its folder: {name}"):
            Checkpoint(index)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"weight_map": 3}'])
def test_an_index_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    index = tmp_path / "some.index.json"
    index.write_text(text)
    with pytest.raises(CheckpointError, match="not an index of a sharded model"):
        Checkpoint(index)


def test_a_folder_without_weights_is_an_error_that_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"a folder without model.safetensors or"):
        Checkpoint(tmp_path)
