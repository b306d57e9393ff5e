"""Everything that a checkpoint can be asked, asked of each kind of it."""

import inspect
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import soup
from soup.known_digests import Changed
from soup.weights import Checkpoint
from soup.weights.adapters import Adapted, Adapter
from soup.weights.mixer import Mixer
from soup.weights.numbers import count, numbers
from soup.weights.view import View


def tensors(seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    embed = torch.randn(6, 4)
    return {
        "embed.weight": embed,
        "head.weight": embed,
        "fc.weight": torch.randn(6, 4),
        "half.weight": torch.randn(3).bfloat16(),
        "z": torch.complex(torch.randn(2, 3), torch.randn(2, 3)),
        "steps": torch.tensor(3),
    }


def plain(folder: Path, seed: int = 0) -> Checkpoint:
    soup.save(tensors(seed), folder / f"{seed}.safetensors")
    return Checkpoint(folder / f"{seed}.safetensors")


def sharded(folder: Path) -> Checkpoint:
    every = tensors()
    del every["head.weight"]
    for name, tensor in every.items():
        soup.save({name: tensor}, folder / f"{name}.safetensors")
    of = {name: f"{name}.safetensors" for name in every}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": of}))
    return Checkpoint(folder)


def view(folder: Path) -> View:
    model, other = plain(folder), plain(folder, 1)
    own = {f"module.{name}": (model, name) for name in model if name != "z"}
    return View(model, {**own, "z": (other, "z")})


def adapted(folder: Path) -> Adapted:
    start = "base_model.model."
    factors = {f"{start}fc.lora_A.weight": torch.randn(2, 4), f"{start}z": torch.randn(5)}
    factors[f"{start}fc.lora_B.weight"] = torch.randn(6, 2)
    soup.save(factors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "modules_to_save": ["z"]}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return Adapted(Adapter.open(str(folder)), plain(folder))


KINDS: dict[type[Checkpoint], Callable[[Path], Checkpoint]] = {View: view, Adapted: adapted}


@pytest.mark.parametrize("make", [plain, sharded, *KINDS.values()])
def test_every_way_to_read_a_tensor_reads_the_same(
    tmp_path: Path, make: Callable[[Path], Checkpoint]
) -> None:
    model = make(tmp_path)
    for name in model:
        tensor, spec = model[name], model.specs[name]
        flat = numbers(tensor)
        assert (tensor.dtype, tensor.shape) == (spec.dtype, spec.shape)
        assert torch.equal(tensor, model[spec.tied])
        size = count(spec.shape, spec.dtype)
        assert torch.equal(model.reader(name)(0, size).to(flat.dtype), flat)
        for dtype in (flat.dtype, torch.float64):
            out = torch.empty(size, dtype=dtype)
            model.read_into(out, name)
            assert torch.equal(out.to(flat.dtype), flat)
        assert torch.equal(torch.cat([*model.blocks([name])]), tensor.reshape(-1))
    assert len(model.digest()) == 64
    assert model.path in str(model)
    assert model.path in repr(model)
    held = Mixer([model, model]).mix({n: torch.tensor([0.5, 0.5]) for n in model})
    for name, tensor in held.items():
        torch.testing.assert_close(tensor, model[name].to(tensor.dtype))
    model.require_unchanged()
    path = Path(next(file for file in model.files if file.endswith(".safetensors")))
    os.utime(path, (0, 0))
    for ask in (model.require_unchanged, model.digest):
        with pytest.raises(Changed, match=f"{path.name} was changed while it was read"):
            ask()


def test_no_kind_of_checkpoint_and_no_method_is_left_out() -> None:
    assert {*Checkpoint.__subclasses__()} == {*KINDS}
    methods = {name for name, _ in inspect.getmembers(Checkpoint, inspect.isfunction)}
    of_mapping = {"get", "items", "keys", "values"}  # these call __getitem__ and __iter__
    asked = {"blocks", "digest", "read_into", "reader", "require_unchanged"}
    assert {name for name in methods if name[0] != "_"} - of_mapping == asked
