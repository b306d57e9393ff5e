"""What is saved comes back, and what cannot be read is an error that names the file."""

import errno
import hashlib
import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from soup.weights import average, checkpoint
from soup.weights.checkpoint import Checkpoint, save
from soup.weights.safetensors_header import Malformed, parse_header
from soup.weights.shards import CheckpointError
from tests.files import different, sharded
from tests.forked import Forks
from tests.strategies import alike


@given(models=alike(most=1))
def test_weights_come_back_as_they_were_saved(
    tmp_path_factory: pytest.TempPathFactory, models: list[dict[str, Tensor]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "round_trip.safetensors"
    save(models[0], path)
    kept = Checkpoint(path)
    assert sorted(models[0]) == list(kept)
    assert len(kept) == len(models[0])
    for name, tensor in models[0].items():
        assert torch.equal(kept[name], tensor)
        assert kept[name].dtype == tensor.dtype


def test_the_same_weights_are_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    weights, notes = different(6), {name: name.upper() for name in "abcdefgh"}
    save(weights, tmp_path / "a", notes)
    save(dict(reversed(weights.items())), tmp_path / "b", dict(reversed(notes.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_tied_tensors_are_written_once(tmp_path: Path) -> None:
    embed = torch.rand(100, 10)
    save({"embed": embed, "unembed": embed}, tmp_path / "tied")
    save({"embed": embed}, tmp_path / "single")
    assert (tmp_path / "tied").stat().st_size < (tmp_path / "single").stat().st_size + 500
    assert torch.equal(Checkpoint(tmp_path / "tied")["unembed"], embed)


def test_a_transposed_view_is_not_a_tie(tmp_path: Path) -> None:
    square = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    save({"a": square, "b": square.T, "c": square[0]}, tmp_path / "w")
    kept = Checkpoint(tmp_path / "w")
    assert kept["b"].tolist() == [[1, 3], [2, 4]]
    assert kept["c"].tolist() == [1, 2]


def test_copies_from_a_device_are_not_taken_for_ties(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a GPU `.cpu()` copies; the copy is freed, and a later one has its address.
    weights = different(30)
    monkeypatch.setattr(torch.Tensor, "cpu", torch.Tensor.clone)
    save(weights, tmp_path / "w")
    kept = Checkpoint(tmp_path / "w")
    assert [float(kept[name][0]) for name in kept] == list(range(30))


def test_notes_come_back_as_they_were_given_and_may_be_saved_again(tmp_path: Path) -> None:
    tied = torch.rand(3)
    save({"a": tied, "b": tied}, tmp_path / "first", {"step": "3"})
    first = Checkpoint(tmp_path / "first")
    assert first.metadata == {"step": "3"}
    save(first, tmp_path / "second", first.metadata)
    assert list(Checkpoint(tmp_path / "second")) == ["a", "b"]


def test_files_are_averaged_as_dictionaries_are(tmp_path: Path) -> None:
    models = [different(4), {name: tensor + 1 for name, tensor in different(4).items()}]
    for index, model in enumerate(models):
        save(model, tmp_path / str(index))
    soup = average([Checkpoint(tmp_path / "0"), Checkpoint(tmp_path / "1")])
    expected = average(models)
    assert all(torch.equal(soup[name], expected[name]) for name in expected)


def test_a_name_that_is_not_there_is_a_key_error(tmp_path: Path) -> None:
    save({"a": torch.zeros(1)}, tmp_path / "w")
    assert "b" not in Checkpoint(tmp_path / "w")
    with pytest.raises(KeyError, match="b"):
        Checkpoint(tmp_path / "w")["b"]


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    save({"a": torch.zeros(100)}, tmp_path / "good")
    data = (tmp_path / "good").read_bytes()
    (tmp_path / "cut short").write_bytes(data[:-1])
    (tmp_path / "cut in the header").write_bytes(data[:20])
    (tmp_path / "empty").write_bytes(b"")
    torch.save({"a": torch.zeros(1)}, tmp_path / "pickled")
    for name in ["cut short", "cut in the header", "empty", "pickled"]:
        with pytest.raises(CheckpointError, match=rf"{name}: not a readable safetensors file: \w+"):
            Checkpoint(tmp_path / name)


@pytest.mark.parametrize("name", ["missing", "missing.pt", "missing.safetensors", "run:1/m"])
def test_a_file_that_does_not_exist_is_said_to_be_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=rf"{name}: no such file or folder$"):
        Checkpoint(tmp_path / name)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "w"
    save({"a": torch.zeros(1)}, path)
    monkeypatch.setattr(checkpoint, "_written", full)
    with pytest.raises(OSError, match="w: cannot be written: No space left on device"):
        save({"a": torch.ones(1)}, path)
    assert float(Checkpoint(path)["a"]) == 0
    assert list(tmp_path.iterdir()) == [path]


def test_a_pickle_is_not_opened_but_told_how_to_be_converted(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "my run[1].pt")
    wanted = f"soup import '{tmp_path}/my run[1].pt' --out '{tmp_path}/my run[1].safetensors'"
    with pytest.raises(CheckpointError, match=re.escape(wanted)):
        Checkpoint(tmp_path / "my run[1].pt")
    torch.save({"a": torch.zeros(1)}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"model.pt: not safetensors.*soup import .*model.pt"):
        Checkpoint(tmp_path / "model.pt")


def test_files_are_averaged_in_the_memory_of_a_block(with_torch: Forks, tmp_path: Path) -> None:
    # In a process of its own, for what this one holds is not known.
    script = """
import sys, torch, soup
def private():
    lines = dict(line.split(":") for line in open("/proc/self/status"))
    return int(lines["RssAnon"].split()[0]) * 1024
*paths, out = sys.argv
torch.zeros(1 << 20).add_(1).isfinite()  # torch's threads and their stacks
soup.save(soup.average([soup.Checkpoint(paths[0])]), out)
before = private()
peak = 0
average = soup.average([soup.Checkpoint(p) for p in paths])
blocks = type(average).blocks
def watched(self, names):
    global peak
    for part in blocks(self, names):
        peak = max(peak, private())
        yield part
type(average).blocks = watched
soup.save(average, out)
print(peak - before)
"""
    if not Path("/proc/self/status").exists():
        pytest.skip("private memory is read from /proc, which this system lacks")
    for index in range(3):
        save({f"w{i}": torch.rand(5_000_000) for i in range(3)}, tmp_path / f"{index}.safetensors")
    files = [str(tmp_path / f"{index}.safetensors") for index in range(3)]
    ended = with_torch.python(script, *files, tmp_path / "out.safetensors")
    assert ended.code == 0, ended.err
    # One tensor of one of them alone has as many bytes, one model 60e6.
    assert int(ended.out) < 20e6


def test_the_digest_is_that_of_the_file_and_of_shards_that_of_their_list(tmp_path: Path) -> None:
    save(different(3), tmp_path / "one.safetensors")
    one = hashlib.sha256((tmp_path / "one.safetensors").read_bytes()).hexdigest()
    assert Checkpoint(tmp_path / "one.safetensors").digest() == one
    index = sharded(different(7), tmp_path / "model")
    lines = "".join(
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
        for file in sorted(index.parent.glob("*.safetensors"))
    )
    assert Checkpoint(index).digest() == hashlib.sha256(lines.encode()).hexdigest()


def test_what_is_tied_in_files_is_tied_in_their_average_and_written_once(tmp_path: Path) -> None:
    for index in (1.0, 3.0):
        embed = torch.full((1000,), index)
        save({"a": embed, "b": embed, "c": embed.clone()}, tmp_path / f"{index}")
    pool = [Checkpoint(tmp_path / "1.0"), Checkpoint(tmp_path / "3.0")]
    save(average(pool), tmp_path / "soup")
    soup = Checkpoint(tmp_path / "soup")
    assert {name: float(soup[name][0]) for name in soup} == {"a": 2, "b": 2, "c": 2}
    assert (tmp_path / "soup").stat().st_size == (tmp_path / "1.0").stat().st_size
    assert soup.specs["b"].tied == "a"
    # Tied in one and not in the other: two tensors.
    save({"a": torch.zeros(1000), "b": torch.ones(1000), "c": torch.ones(1000)}, tmp_path / "2")
    save(average([pool[0], Checkpoint(tmp_path / "2")]), tmp_path / "mixed")
    mixed = Checkpoint(tmp_path / "mixed")
    assert {name: float(mixed[name][0]) for name in mixed} == {"a": 0.5, "b": 1, "c": 1}


def test_a_disk_with_too_little_room_is_known_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        checkpoint.shutil, "disk_usage", lambda _: SimpleNamespace(total=100, used=99, free=1)
    )
    with pytest.raises(OSError, match=r"w: cannot be written: 0.4 GB are needed"):
        save({"a": torch.empty(100_000_000)}, tmp_path / "w")
    assert not list(tmp_path.iterdir())


def test_other_tools_read_what_is_saved(tmp_path: Path) -> None:
    weights = different(5) | {"half": torch.rand(3).half(), "n": torch.tensor([True, False])}
    save(weights, tmp_path / "w", {"recipe": "uniform"})
    theirs = load_file(tmp_path / "w")
    assert all(torch.equal(theirs[name], weights[name]) for name in weights)
    with safe_open(tmp_path / "w", "pt") as file:
        assert file.metadata() == {"format": "pt", "recipe": "uniform"}


def test_tensors_of_many_sizes_and_dtypes_are_read_in_parts(tmp_path: Path) -> None:
    # More sizes than the reader keeps buffers for, and larger ones after smaller ones.
    sizes = [1, 7, 40_000, 3, 32_768, 90_001, 5, 11, 13, 17, 19, 23]
    kinds = [torch.float32, torch.float16, torch.float64, torch.bfloat16]
    weights = {
        f"{kind}{size}": torch.rand(size).to(kind) for size in sizes for kind in kinds
    }  # fmt: skip
    save(weights, tmp_path / "w.safetensors")
    both = average([Checkpoint(tmp_path / "w.safetensors")] * 2)
    for name in [*weights, *reversed(weights)]:
        assert torch.equal(both[name], weights[name])


@pytest.mark.parametrize(
    "ties",
    ["", "{", "[]", "3", "null", '{"b": "nowhere"}', '{"b": 3}', '{"b": ["a"]}', "[" * 10**5],
)
def test_damaged_metadata_are_an_error_that_names_the_file(tmp_path: Path, ties: str) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "w.safetensors", {"soup.tied": ties})
    with pytest.raises(CheckpointError, match=r"w.safetensors: not a readable safetensors file: ."):
        Checkpoint(tmp_path / "w.safetensors")


@pytest.mark.parametrize("metadata", [3, "text", ["a"], {"lr": 3}, {"lr": None}])
def test_a_header_whose_metadata_are_no_strings_is_malformed(metadata: object) -> None:
    with pytest.raises(Malformed, match="its header cannot be read"):
        parse_header(json.dumps({"__metadata__": metadata}).encode(), 0)


def test_two_models_in_folders_with_a_colon_are_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, folder in enumerate(["run:1", "run:2"]):
        save({"a": torch.full((2,), float(number))}, f"{folder}/model.safetensors")
        os.utime(f"{folder}/model.safetensors", (0, 0))  # of one size and one time
    found = [Checkpoint(path) for path in ("run:1", "run:2/model.safetensors")]
    assert found[0].digest() != found[1].digest()
    assert [float(model["a"][0]) for model in found] == [0, 1]
