"""What grows beyond its file is refused before it is unpacked, and nothing is written."""

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from soup import limits
from soup.models.conversion import FormatError, convert, growth, weights_of
from soup.models.conversion.candidates import candidates
from soup.weights.checkpoint import Checkpoint, CheckpointError, save
from tests.models.conversion.checkpoints import put, state


def refused(source: Path, reason: str) -> None:
    out = source.parent / "out.safetensors"
    for use in (lambda: convert(source, out), lambda: weights_of(source)):
        with pytest.raises(FormatError, match=reason) as caught:
            use()
        assert str(source) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not out.exists()


def packed(source: Path) -> Path:
    """The records of a checkpoint, compressed."""
    new = source.with_name("packed.pt")
    with (
        zipfile.ZipFile(source) as stored,
        zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for record in stored.infolist():
            archive.writestr(record.filename, stored.read(record))
    return new


def test_compressed_records_are_summed_before_they_are_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = packed(put(tmp_path, {"w": torch.ones(100_000)}))
    assert weights_of(source)["w"].sum() == 100_000  # within the slack
    monkeypatch.setattr(limits, "SLACK", 0)
    monkeypatch.setattr(torch, "load", None)
    refused(
        source, r"unpacks to [0-9,]+; at most [0-9,]+ are taken .limit GROWTH in soup/limits.py"
    )


def test_records_that_overlap_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = put(tmp_path, state())
    with zipfile.ZipFile(source) as archive:
        found = archive.infolist()
    found[-1].compress_size = source.stat().st_size
    monkeypatch.setattr(zipfile.ZipFile, "infolist", lambda _: found)
    refused(source, "source.pt is refused: its records overlap")


@pytest.mark.parametrize("limit", ["DIRECTORY_BYTES", "PICKLE_BYTES"])
def test_tables_of_contents_and_pickles_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(limits, limit, 9)
    refused(put(tmp_path, state()), rf"has [0-9,]+ bytes.*; at most 9 are taken .limit {limit}")


def test_the_length_of_a_long_table_of_contents_is_read_too(tmp_path: Path) -> None:
    long = b"PK\x06\x06" + bytes(36) + (1 << 40).to_bytes(8, "little") + bytes(8)
    locator = b"PK\x06\x07" + bytes(4) + (4).to_bytes(8, "little") + bytes(4)
    end = b"PK\x05\x06" + bytes(8) + b"\xff" * 8 + bytes(2)
    (tmp_path / "long").write_bytes(b"PK\x03\x04" + long + locator + end)
    with pytest.raises(FormatError, match="contents has 1,099,511,627,776 bytes"):
        growth.records(tmp_path / "long")


def view(kind: str) -> Tensor:
    if kind == "stride 0":
        return torch.ones(1).expand(10_000)
    return torch.arange(300.0).as_strided((100, 200), (1, 1))


@pytest.mark.parametrize("kind", ["stride 0", "overlapping"])
def test_a_tensor_larger_than_its_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    source = put(tmp_path, {"w": view(kind), "b": torch.ones(2)})
    convert(source, tmp_path / "small.safetensors")  # within the slack
    assert torch.equal(Checkpoint(tmp_path / "small.safetensors")["w"], view(kind))
    monkeypatch.setattr(limits, "SLACK", 0)
    refused(source, r"the largest, w, shows [0-9,]+ bytes of a memory of .*limit GROWTH")


def test_many_views_of_one_memory_are_summed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = torch.arange(3000.0)
    source = put(tmp_path, {f"w{i}": whole[i:] for i in range(20)})
    monkeypatch.setattr(limits, "SLACK", 0)
    refused(source, "limit GROWTH")
    tied = put(tmp_path, {f"w{i}": whole for i in range(20)}, "tied.pt")
    assert convert(tied, tmp_path / "tied.safetensors").size < 20_000  # written once


def test_memory_beyond_the_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SLACK", 0)
    with pytest.raises(FormatError, match="it has 9 bytes, and the memory of its tensors 4,000;"):
        growth.require_sound_size({"w": torch.zeros(1000)[:1]}, Path("x.pt"), 9)


@pytest.mark.parametrize(
    ("limit", "reason"),
    [("TENSORS", "it has 9 tensors; at most 6"), ("TENSOR_NAME", "a name in it has 21 char.* 6")],
)
def test_numbers_and_names_of_tensors_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, reason: str
) -> None:
    source = put(tmp_path, state())
    save(state(), tmp_path / "s.safetensors")
    assert len(Checkpoint(tmp_path / "s.safetensors")) == 9
    monkeypatch.setattr(limits, limit, 6)
    with pytest.raises(CheckpointError, match=f"s.safetensors: .*{reason} are read .limit {limit}"):
        Checkpoint(tmp_path / "s.safetensors")
    refused(source, f"limit {limit} in soup/limits.py")


def test_tables_that_hold_each_other_are_walked_once() -> None:
    node: Any = {"epoch": 1}
    for _ in range(60):
        node = [node, node, {}]
    with pytest.raises(FormatError, match="holds no weights"):
        candidates(node)


def test_entries_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "VALUES", 20)
    content = {"state_dict": state(), "log": {str(i): {"a": 1} for i in range(20)}}
    refused(put(tmp_path, content), "more than 20 entries .limit VALUES")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    for name in ("a.pt", "a.safetensors", "model.json"):
        os.mkfifo(tmp_path / name)
        refused(tmp_path / name, "a pipe, device or socket, and only regular files are read")
    with pytest.raises(CheckpointError, match=r"a.safetensors: .*a pipe, device or socket"):
        Checkpoint(tmp_path / "a.safetensors")
