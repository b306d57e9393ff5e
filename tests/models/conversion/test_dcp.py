"""Checkpoints of torch.distributed: shards are joined, and nothing in them is run."""

import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata

from soup.models.conversion import FormatError, convert, weights_of
from soup.models.conversion.dcp import DistributedWeights
from soup.weights.checkpoint import Checkpoint
from soup.weights.shards import CheckpointError
from tests.models.conversion.distributed_folders import dcp, put, safetensors_shards

WHOLE = {
    "fc.weight": torch.arange(21.0).reshape(7, 3),
    "fc.bias": torch.arange(7.0).to(torch.bfloat16),
    "bn.num_batches_tracked": torch.tensor(5),
    "conv.weight": torch.arange(48.0).reshape(4, 3, 2, 2),
    "empty": torch.empty(0, 3),
}


def assert_whole(path: Path) -> None:
    found = load_file(path)
    assert set(found) == set(WHOLE)
    for name, tensor in WHOLE.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


def test_the_shards_of_two_ranks_become_one_file(tmp_path: Path) -> None:
    dcp(tmp_path / "step", {f"_orig_mod.{name}": tensor for name, tensor in WHOLE.items()})
    found = convert(tmp_path / "step", tmp_path / "w.safetensors")
    assert_whole(tmp_path / "w.safetensors")
    assert (found.layout, found.key, found.tensors) == ("torch.distributed", "model", 5)
    assert found.stripped == ("_orig_mod.",)
    weights = weights_of(tmp_path / "step")
    assert all(torch.equal(weights[name], tensor) for name, tensor in WHOLE.items())


def test_tensors_are_read_one_by_one_and_those_of_the_optimizer_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dcp(tmp_path / "step", WHOLE)
    read: list[str] = []
    get = DistributedWeights.__getitem__

    def counted(self: DistributedWeights, name: str) -> Tensor:
        read.append(name)
        return get(self, name)

    monkeypatch.setattr(DistributedWeights, "__getitem__", counted)
    convert(tmp_path / "step", tmp_path / "w.safetensors")
    assert sorted(read) == sorted(f"model.{name}" for name in WHOLE)


def test_what_torch_saves_and_averages_beside_it_are_found(tmp_path: Path) -> None:
    import torch.distributed.checkpoint as distributed

    content = {"app": {"net": WHOLE, "ema": {n: t + 1 for n, t in WHOLE.items()}}, "lr": 0.1}
    distributed.save(content, checkpoint_id=str(tmp_path / "step"), no_dist=True)
    assert convert(tmp_path / "step", tmp_path / "w").others == ("app.ema",)
    assert_whole(tmp_path / "w")
    convert(tmp_path / "step", tmp_path / "e", ema=True)
    assert torch.equal(load_file(tmp_path / "e")["fc.weight"], WHOLE["fc.weight"] + 1)


def test_a_model_of_timm_is_renamed_from_shards_too(tmp_path: Path) -> None:
    weights = dict(timm.create_model("test_vit", num_classes=3).state_dict())
    dcp(tmp_path / "step", weights)
    convert(tmp_path / "step", tmp_path / "w", model="timm:test_vit")
    found = load_file(tmp_path / "w")
    assert all(torch.equal(found[name], tensor) for name, tensor in weights.items())


def test_shards_for_hugging_face_become_one_file(tmp_path: Path) -> None:
    whole = {name: tensor for name, tensor in WHOLE.items() if name != "empty"}
    safetensors_shards(tmp_path / "hf", whole)
    convert(tmp_path / "hf", tmp_path / "w")
    found = load_file(tmp_path / "w")
    assert set(found) == set(whole)
    assert all(torch.equal(found[name], tensor) for name, tensor in whole.items())


def run_by_a_pickle(_: str) -> dict[str, Any]:
    raise AssertionError("the pickle was run")


class Asks:
    """Pickled as a call of a function."""

    def __reduce__(self) -> tuple[Any, ...]:
        return run_by_a_pickle, ("",)


def without_a_part(written: Metadata) -> None:
    entry = written.state_dict_metadata["model.fc.weight"]
    assert isinstance(entry, TensorStorageMetadata)
    entry.chunks.pop()


def elsewhere(written: Metadata) -> None:
    next(iter(written.storage_data.values())).relative_path = "../other/__0_0.distcp"


def compressed(written: Metadata) -> None:
    next(iter(written.storage_data.values())).transform_descriptors = ["zstd"]


def negative(written: Metadata) -> None:
    next(iter(written.storage_data.values())).offset = -1


TABLES: dict[str, tuple[Callable[[Metadata], object], str]] = {
    "a part is not in the table": (without_a_part, r"model\.fc\.weight \(12 of 21 numbers\)"),
    "a file of another folder": (elsewhere, "none of its shards"),
    "a compressed shard": (compressed, "compressed or encrypted"),
    "a negative offset": (negative, "table of contents cannot be read"),
    "no table": (lambda _: [1, 2], "table of contents cannot be read"),
    "a call": (lambda _: Asks(), "asks for 'tests.*run_by_a_pickle'.*nothing of it was run"),
    "an object": (lambda _: {"a": Path}, "asks for 'pathlib.*Path'"),
}


@pytest.mark.parametrize(("change", "words"), TABLES.values(), ids=TABLES)
def test_a_table_that_is_wrong_is_refused(
    tmp_path: Path, change: Callable[[Metadata], object], words: str
) -> None:
    written = dcp(tmp_path / "step", WHOLE)
    put(tmp_path / "step", change(written) or written)
    with pytest.raises(FormatError, match=words) as raised:
        convert(tmp_path / "step", tmp_path / "w")
    assert "step" in str(raised.value)
    assert not (tmp_path / "w").exists()


def test_missing_and_damaged_shards_are_named(tmp_path: Path) -> None:
    dcp(tmp_path / "step", WHOLE)
    shard = tmp_path / "step" / "__1_0.distcp"
    raw = shard.read_bytes()
    shard.unlink()
    with pytest.raises(FormatError, match=r"shards are missing: __1_0\.distcp"):
        convert(tmp_path / "step", tmp_path / "w")
    shard.write_bytes(raw[:-9])
    with pytest.raises(FormatError, match=r"cut short: __1_0\.distcp"):
        convert(tmp_path / "step", tmp_path / "w")
    shard.write_bytes(b"\0" * len(raw))
    with pytest.raises(FormatError, match=r"cannot be read from its shards"):
        convert(tmp_path / "step", tmp_path / "w")
    shard.write_bytes(raw)
    (tmp_path / "step" / ".metadata").unlink()
    for read in (lambda p: convert(p, tmp_path / "w"), Checkpoint):
        with pytest.raises(
            (FormatError, CheckpointError), match=r"it needs the folder's \.metadata"
        ):
            read(tmp_path / "step")
    assert not (tmp_path / "w").exists()


def test_a_part_that_asks_for_objects_is_not_run(tmp_path: Path) -> None:
    written = dcp(tmp_path / "step", WHOLE)
    saved = io.BytesIO()
    torch.save(Asks(), saved)
    shard = tmp_path / "step" / "__0_0.distcp"
    info = next(iter(written.storage_data.values()))
    info.offset, info.length = shard.stat().st_size, len(saved.getvalue())
    shard.write_bytes(shard.read_bytes() + saved.getvalue())
    put(tmp_path / "step", written)
    with pytest.raises(FormatError, match=r"fc\.weight cannot be read .*UnpicklingError"):
        convert(tmp_path / "step", tmp_path / "w")


def test_a_part_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dcp(tmp_path / "step", WHOLE)
    monkeypatch.setattr("soup.limits.GROWTH", 0)
    monkeypatch.setattr("soup.limits.SLACK", 100)
    weights = DistributedWeights(tmp_path / "step")
    with pytest.raises(FormatError, match="limit GROWTH"):
        weights["model.fc.weight"]


def test_shards_for_hugging_face_that_are_missing_are_named(tmp_path: Path) -> None:
    safetensors_shards(tmp_path / "hf", {"fc.weight": WHOLE["fc.weight"]})
    first, second = sorted((tmp_path / "hf").iterdir())
    raw = first.read_bytes()
    first.unlink()
    with pytest.raises(FormatError, match="shards are missing: shard-00001"):
        convert(tmp_path / "hf", tmp_path / "w")
    first.write_bytes(raw)
    second.rename(second.with_name("shard-00003-model-00001-of-00001.safetensors"))
    with pytest.raises(FormatError, match="shards are missing: shard-00002"):
        convert(tmp_path / "hf", tmp_path / "w")
    raw = first.read_bytes().replace(b"saved_offsets", b"other_offsets")
    first.write_bytes(raw)
    (tmp_path / "hf" / "shard-00003-model-00001-of-00001.safetensors").rename(second)
    with pytest.raises(FormatError, match="do not say where each part"):
        convert(tmp_path / "hf", tmp_path / "w")


RANKS = """
import sys, warnings
import torch, torch.distributed as dist, torch.multiprocessing as mp
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

def rank(number, folder):
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=number, world_size=2)
    torch.manual_seed(0)
    nn = torch.nn
    model = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, 3))
    if number == 0:
        torch.save(model.state_dict(), f"{folder}/whole.pt")
    mesh = init_device_mesh("cpu", (2,))
    fully_shard(model[0], mesh=mesh)
    fully_shard(model, mesh=mesh)
    assert model[0].weight.to_local().shape != model[0].weight.shape
    dcp.save({"model": model.state_dict(), "epoch": 3}, checkpoint_id=f"{folder}/dcp")
    writer = HuggingFaceStorageWriter(f"{folder}/hf", save_distributed=True)
    dcp.save(model.state_dict(), storage_writer=writer)
    dist.destroy_process_group()

if __name__ == "__main__":
    mp.start_processes(rank, (sys.argv[1],), nprocs=2, start_method="fork")
"""


@pytest.mark.slow
def test_what_two_ranks_with_fully_sharded_parameters_wrote_is_the_whole_model(
    tmp_path: Path,
) -> None:
    (tmp_path / "ranks.py").write_text(RANKS)
    command = [sys.executable, str(tmp_path / "ranks.py"), str(tmp_path)]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    whole = torch.load(tmp_path / "whole.pt", weights_only=True)
    for layout in ("dcp", "hf"):
        convert(tmp_path / layout, tmp_path / f"{layout}.safetensors")
        found = load_file(tmp_path / f"{layout}.safetensors")
        assert set(found) == set(whole)
        assert all(torch.equal(found[name], tensor) for name, tensor in whole.items())


def test_the_pickle_of_the_tests_would_run() -> None:
    with pytest.raises(AssertionError, match="was run"):
        pickle.loads(pickle.dumps(Asks()))
