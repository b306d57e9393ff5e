"""A pickle with code in it is named and refused, and never run; a damaged file is said to be."""

import collections
import datetime
import importlib
import os
import pathlib
import pickle
import subprocess
import sys
import zipfile
from argparse import Namespace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from soup.models.conversion import FormatError, convert
from soup.models.conversion.pickle_reader import read

REMEDY = r"nothing of it was run.*torch\.save\(model\.state_dict\(\), 'weights\.pt'\)"


class Planted:
    """A value whose unpickling makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


class Settings:
    """A user's own class, as `hyper_parameters` hold them."""


def test_the_planted_code_works(tmp_path: Path) -> None:
    torch.save({"a": Planted(tmp_path / "made")}, tmp_path / "source.pt")
    torch.load(tmp_path / "source.pt", weights_only=False)
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_by_name_and_not_run(tmp_path: Path, zipped: bool) -> None:
    source = tmp_path / "source.pt"
    content = {"state_dict": {"a": torch.ones(2)}, "extra": Planted(tmp_path / "made")}
    torch.save(content, source, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        FormatError, match=rf"source.pt: refused: it asks for '\w+\.mkdir'.*{REMEDY}"
    ):
        convert(source, tmp_path / "w")
    assert not (tmp_path / "made").exists()
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_bare_pickle_is_not_run_either(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "p.pkl").write_bytes(pickle.dumps(Planted(tmp_path / "made"), protocol))
    with pytest.raises(FormatError, match=r"p.pkl: (refused|not a checkpoint)"):
        convert(tmp_path / "p.pkl", tmp_path / "w")
    assert not (tmp_path / "made").exists()


def test_code_in_a_shard_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2), "b": Planted(tmp_path / "made")}, tmp_path / "s.bin")
    (tmp_path / "m.bin.index.json").write_text('{"weight_map": {"a": "s.bin"}}')
    with pytest.raises(FormatError, match=r"s.bin: refused"):
        convert(tmp_path / "m.bin.index.json", tmp_path / "w")
    assert not (tmp_path / "made").exists()


def test_everything_a_file_asks_for_is_named_but_what_is_allowed(tmp_path: Path) -> None:
    content = {
        "state_dict": {"a": torch.ones(2)},
        "hyper_parameters": {"s": Settings(), "c": collections.Counter("a")},
        "loss": nn.CrossEntropyLoss(),
        "args": Namespace(a=1),
    }
    torch.save(content, tmp_path / "s.ckpt")
    with pytest.raises(FormatError) as raised:
        convert(tmp_path / "s.ckpt", tmp_path / "w")
    asked = str(raised.value).partition("asks for ")[2].partition(", and import")[0].split(", ")
    assert asked == [f"'{__name__}.Settings'", "'torch.nn.modules.loss.CrossEntropyLoss'"]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_model_is_refused_with_the_remedy(tmp_path: Path, zipped: bool) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(FormatError, match=rf"torch.nn.modules.linear.Linear.*{REMEDY}"):
        convert(tmp_path / "m.pt", tmp_path / "w")


def test_a_torchscript_archive_is_refused_with_the_remedy(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "m.pt")
    with pytest.raises(FormatError, match=f"torch.jit.ScriptModule.*{REMEDY}"):
        convert(tmp_path / "m.pt", tmp_path / "w")


class Beside(NamedTuple):
    """A value of another kind than NumPy's, whose class is not known to be harmless."""

    value: int


BESIDE: dict[str, Any] = {
    "numbers": {"best": np.float64(0.9), "n": np.int32(3), "done": np.bool_(True)},
    "text": np.str_("text"),
    "arrays": {"scores": np.ones((2, 3)), "random": np.random.RandomState(0).get_state()},
    "paths": [pathlib.PurePosixPath("/data"), pathlib.PureWindowsPath("c:/data")],
    "times": [datetime.datetime(2026, 1, 2), datetime.timedelta(1), datetime.UTC],
    "containers": [collections.defaultdict(list, a=[np.int64(1)]), collections.deque([1, 2])],
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", BESIDE)
def test_harmless_values_beside_the_weights_are_read_past(
    tmp_path: Path, kind: str, zipped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {"model": {"a": torch.ones(2)}, "beside": BESIDE[kind]}
    torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    monkeypatch.setattr(np, "dtype", lambda *_: pytest.fail("code of NumPy ran"))
    found = convert(tmp_path / "w.pt", tmp_path / "w")
    assert (found.key, found.tensors) == ("model", 1)


def test_weights_in_a_defaultdict_are_weights(tmp_path: Path) -> None:
    torch.save({"model": collections.defaultdict(list, a=torch.ones(2))}, tmp_path / "w.pt")
    assert convert(tmp_path / "w.pt", tmp_path / "w").key == "model"


def test_harmless_values_let_nothing_else_in(tmp_path: Path) -> None:
    beside = {"score": np.float64(1), "extra": Planted(tmp_path / "made"), "other": Beside(1)}
    torch.save({"model": {"a": torch.ones(2)}, **beside}, tmp_path / "w.pt")
    with pytest.raises(FormatError, match=r"asks for '\w+\.mkdir', '[\w.]+\.Beside', and import"):
        convert(tmp_path / "w.pt", tmp_path / "w")
    assert not (tmp_path / "made").exists()


def test_weights_of_numpy_are_said_to_be_so(tmp_path: Path) -> None:
    torch.save({"w": np.ones(3)}, tmp_path / "w.pt")
    with pytest.raises(FormatError, match="only the keys w, whose values are arrays of NumPy"):
        convert(tmp_path / "w.pt", tmp_path / "w")


SHARDED = """
import os, sys, torch
import torch.distributed as distributed
from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh
store = distributed.HashStore()
distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
mesh = init_device_mesh("cpu", (1,))
torch.save({"w": distribute_tensor(torch.ones(2, 3), mesh, [Shard(0)])}, sys.argv[1])
distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_tensors_of_one_process_of_many_are_no_damage(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", SHARDED, tmp_path / "w.pt"], check=True)
    # Torch reads DTensors once some module has imported torch.distributed.tensor.
    wanted = r"w.pt: (w is a DTensor|holds tensors of one process.*get_model_state_dict\(model)"
    with pytest.raises(FormatError, match=wanted):
        convert(tmp_path / "w.pt", tmp_path / "w")
    importlib.import_module("torch.distributed.tensor")
    with pytest.raises(FormatError, match=wanted):
        convert(tmp_path / "w.pt", tmp_path / "w")


def test_flattened_parameters_of_fsdp_are_refused(tmp_path: Path) -> None:
    flat = {"_fsdp_wrapped_module._flat_param": torch.ones(9), "fc._flat_param": torch.ones(3)}
    torch.save(flat, tmp_path / "w.pt")
    with pytest.raises(FormatError, match=r"_flat_param is one process's part .*FULL_STATE_DICT"):
        convert(tmp_path / "w.pt", tmp_path / "w")


def test_damaged_files_are_named_and_leave_nothing(tmp_path: Path) -> None:
    torch.save({"a": torch.rand(1000)}, tmp_path / "good")
    data = (tmp_path / "good").read_bytes()
    damaged = {
        "cut.pt": data[:-100],
        "short.pt": data[:100],
        "empty.pt": b"",
        "text.pt": b"epoch 1: loss 0.5\n" * 10,
        "page.pth": b"<!DOCTYPE html><html><body>404</body></html>",
        "other.pt": b"\x00" * 500,
    }
    for name, raw in damaged.items():
        (tmp_path / name).write_bytes(raw)
        wanted = rf"{name}: not a checkpoint that torch can read \(.+\); .*fetch or save it again"
        with pytest.raises(FormatError, match=wanted):
            convert(tmp_path / name, tmp_path / "w")
    assert {path.name for path in tmp_path.iterdir()} == {"good", *damaged}


def test_a_pickle_that_torch_cannot_list_is_still_refused_by_name(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "good")
    with (
        zipfile.ZipFile(tmp_path / "good") as good,
        zipfile.ZipFile(tmp_path / "bad.pt", "w") as bad,
    ):
        for name in good.namelist():
            hostile = b"\x80\x02cos\nsystem\n\x94."  # MEMOIZE, which the lister does not know
            bad.writestr(name, hostile if name.endswith("data.pkl") else good.read(name))
    with pytest.raises(FormatError, match=r"bad.pt: refused: it asks for 'os.system'"):
        convert(tmp_path / "bad.pt", tmp_path / "w")


def test_a_compressed_archive_is_not_mapped(tmp_path: Path) -> None:
    # torch would map it all the same, and take the compressed bytes for numbers.
    weight = torch.arange(1000.0)
    torch.save({"a": weight}, tmp_path / "stored")
    with (
        zipfile.ZipFile(tmp_path / "stored") as stored,
        zipfile.ZipFile(tmp_path / "packed", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    found = read(tmp_path / "packed")
    assert isinstance(found, dict)
    assert torch.equal(found["a"], weight)


def test_tensors_are_mapped_from_the_file(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1000)}, tmp_path / "w.pt")
    found = read(tmp_path / "w.pt")
    assert isinstance(found, dict)
    assert found["a"].untyped_storage().nbytes() == 4000
    mapped = Path("/proc/self/maps")
    if mapped.exists():
        assert str(tmp_path / "w.pt") in mapped.read_text()
