"""More files than may be open, tied tensors that some leave out, and files that are no model."""

import gc
import json
from pathlib import Path
from weakref import WeakSet

import pytest
import torch
from safetensors.torch import load_file, save_file, save_model
from torch import nn

from soup.weights import Incompatible, average, local_file
from soup.weights.checkpoint import Checkpoint, save
from soup.weights.local_file import LocalFile
from soup.weights.running_mean import RunningMean
from soup.weights.shards import CheckpointError


def test_more_files_than_may_be_open_are_averaged_by_several_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    models = [{"a": torch.randn(70_000), "b": torch.randn(40_000)} for _ in range(7)]
    for number, model in enumerate(models):
        save(model, tmp_path / f"{number}")
    monkeypatch.setattr(local_file, "MOST_OPEN", 3)
    most = 0
    opened = LocalFile._opened
    files: WeakSet[LocalFile] = WeakSet()

    def watched(self: LocalFile) -> object:
        nonlocal most
        file = opened(self)
        files.add(self)
        most = max(most, sum(each._file is not None for each in files))
        return file

    monkeypatch.setattr(LocalFile, "_opened", watched)
    torch.set_num_threads(3)
    try:
        found = average([Checkpoint(tmp_path / f"{number}") for number in range(7)])
        for name in "ab":
            wanted = torch.stack([model[name].double() for model in models]).mean(dim=0).float()
            torch.testing.assert_close(found[name], wanted, rtol=1e-7, atol=1e-9)
    finally:
        torch.set_num_threads(1)
    del found
    gc.collect()
    assert 0 < most <= 3
    assert not local_file._open_files  # none stays open for models that are gone


class Tied(nn.Module):
    """A head tied to an embedding, under a name that sorts before or after that of the latter."""

    def __init__(self, head: str) -> None:
        super().__init__()
        self.mid = nn.Linear(4, 4)
        self.embed = nn.Embedding(6, 4)
        self.add_module(head, nn.Linear(4, 6, bias=False))
        self.get_submodule(head).weight = self.embed.weight


@pytest.mark.parametrize("head", ["decoder", "head"])
@pytest.mark.parametrize("noted", [True, False])
def test_a_tied_tensor_that_some_files_leave_out_is_the_one_it_is_tied_to(
    tmp_path: Path, head: str, noted: bool
) -> None:
    models = [Tied(head) for _ in range(3)]
    save_model(models[0], str(tmp_path / "0"))
    if not noted:  # as transformers leaves it out
        kept = {n.replace(head, "embed"): t for n, t in load_file(tmp_path / "0").items()}
        save_file(kept, tmp_path / "0")
    for number, model in enumerate(models[1:], start=1):
        save(dict(model.state_dict()), tmp_path / str(number))
    wanted = torch.stack([model.embed.weight.detach().double() for model in models]).mean(dim=0)
    files = [Checkpoint(tmp_path / str(number)) for number in range(3)]
    for pool in (files, files[::-1], [dict(file) for file in files]):
        mean = RunningMean()
        for model in pool:
            mean.add(model)
        for found in (average(pool), mean.value(), mean.result()):
            assert torch.equal(found[f"{head}.weight"], wanted.float())
            assert torch.equal(found["embed.weight"], wanted.float())
    save(average(files), tmp_path / "soup")
    soup = Checkpoint(tmp_path / "soup")
    assert soup.specs[f"{head}.weight"].tied == soup.specs["embed.weight"].tied
    # A head that was untied in one of the others is a tensor of its own, which nobody can guess.
    free = dict(models[1].state_dict()) | {f"{head}.weight": torch.zeros(6, 4)}
    with pytest.raises(Incompatible, match=f"{head}.weight|embed.weight"):
        average([kept if not noted else {"embed.weight": wanted.float()}, free])


@pytest.mark.parametrize(
    "names",
    [
        ["mp_rank_00/model.safetensors", "mp_rank_01/model.safetensors"],
        ["consolidated.00.safetensors", "consolidated.01.safetensors"],
        ["model_tp-rank-0-of-2.safetensors", "model_tp-rank-1-of-2.safetensors"],
        ["a/mp_rank_01_model_states.safetensors"],
    ],
)
def test_one_tensor_parallel_rank_is_no_model(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        save({"w": torch.ones(2)}, tmp_path / name)
    for name in names:
        with pytest.raises(CheckpointError, match=r"one tensor-parallel rank.*all ranks"):
            Checkpoint(tmp_path / name)


@pytest.mark.parametrize("name", ["mp_rank_00/w.safetensors", "consolidated.00.safetensors"])
def test_the_only_rank_is_a_whole_model(tmp_path: Path, name: str) -> None:
    save({"w": torch.ones(2)}, tmp_path / name)
    save({"w": torch.ones(2)}, tmp_path / "http_rank_3.safetensors")
    assert list(Checkpoint(tmp_path / name)) == ["w"]
    assert list(Checkpoint(tmp_path / "http_rank_3.safetensors")) == ["w"]


def test_a_type_that_is_not_read_is_named_with_its_tensor(tmp_path: Path) -> None:
    scale = torch.ones(2).to(torch.float8_e8m0fnu)
    header = {"fc.scale": {"dtype": "F8_E8M0", "shape": [2], "data_offsets": [0, 2]}}
    text = json.dumps(header).encode()
    raw = bytes(scale.view(torch.uint8).tolist())
    (tmp_path / "w").write_bytes(len(text).to_bytes(8, "little") + text + raw)
    with pytest.raises(CheckpointError, match=r"fc.scale \(F8_E8M0\) are of a type.*not read"):
        Checkpoint(tmp_path / "w")
