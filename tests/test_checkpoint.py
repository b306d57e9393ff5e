"""What is saved comes back, and what cannot be read is an error that names the file."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from torch import Tensor

from soup import checkpoint
from soup.checkpoint import Checkpoint, CheckpointError, save
from soup.weights import average
from tests.strategies import alike


def different(count: int) -> dict[str, Tensor]:
    """Tensors of a few sizes, each with a value of its own."""
    return {f"w{i:02}": torch.full(((64, 300, 5000)[i % 3],), float(i)) for i in range(count)}


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
    (tmp_path / "folder").mkdir()
    for name in ["cut short", "cut in the header", "empty", "pickled", "folder", "missing"]:
        with pytest.raises(CheckpointError, match=rf"{name}: not a readable safetensors file: \w+"):
            Checkpoint(tmp_path / name)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise checkpoint.SafetensorError("No space left on device")

    path = tmp_path / "w"
    save({"a": torch.zeros(1)}, path)
    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="w: cannot be written: No space left on device"):
        save({"a": torch.ones(1)}, path)
    assert float(Checkpoint(path)["a"]) == 0
    assert list(tmp_path.iterdir()) == [path]
