"""Checkpoints under the names of others, without wrappers that nothing is ambiguous about."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

import soup
from soup.weights import Checkpoint
from soup.weights.view import View, without_wrappers

PLAIN = {"fc.weight": torch.ones(3, 2), "fc.bias": torch.zeros(3)}


def put(folder: Path, name: str, tensors: dict[str, Tensor]) -> Checkpoint:
    soup.save(tensors, folder / name)
    return Checkpoint(folder / name)


def wrapped(prefix: str, value: float = 1) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor + value for name, tensor in PLAIN.items()}


@pytest.mark.parametrize("prefix", ["module.", "model.", "student.", "_orig_mod.module.", "net."])
def test_models_that_differ_by_wrappers_alone_are_averaged(tmp_path: Path, prefix: str) -> None:
    models = [put(tmp_path, "a", PLAIN), put(tmp_path, "b", wrapped(prefix, 2))]
    for order in (models, models[::-1]):
        views, removed = without_wrappers(order)
        mean = soup.average(views)
        assert set(mean) == set(PLAIN)
        assert torch.equal(mean["fc.weight"], torch.full((3, 2), 2.0))
        assert [*removed] == [str(tmp_path / "b")]


def test_wrappers_inside_names_differ_from_model_to_model(tmp_path: Path) -> None:
    one = {"a._orig_mod.fc.weight": torch.ones(2), "b.weight": torch.ones(2)}
    two = {"module.a.fc.weight": torch.ones(2), "module.b.weight": torch.ones(2)}
    views, removed = without_wrappers([put(tmp_path, "a", one), put(tmp_path, "b", two)])
    assert set(views[0]) == set(views[1]) == {"a.fc.weight", "b.weight"}
    assert [*removed.values()] == ["_orig_mod.", "module."]


def test_names_stay_where_nothing_says_what_a_wrapper_is(tmp_path: Path) -> None:
    same = [put(tmp_path, name, wrapped("model.")) for name in "ab"]
    assert without_wrappers(same) == (same, {})  # all agree: it may be the model's own part
    shape = {"module.fc.weight": torch.ones(2, 2), "module.fc.bias": torch.ones(3)}
    part = {"module.fc.weight": torch.ones(3, 2), "fc.bias": torch.ones(3)}
    for name, other in (("s", shape), ("p", part)):
        models = [same[0], put(tmp_path, name, other)]
        assert without_wrappers(models) == (models, {})


def test_ties_stay_ties_and_a_tensor_of_another_model_joins_none(tmp_path: Path) -> None:
    tensor = torch.arange(4.0)
    one = put(tmp_path, "a", {"x": tensor, "y": tensor, "z": tensor})
    two = put(tmp_path, "b", {"x": tensor + 1})
    view = View(one, {"y": (one, "y"), "z": (one, "z"), "x": (two, "x")})
    assert {name: spec.tied for name, spec in view.specs.items()} == {"x": "x", "y": "y", "z": "y"}
    soup.save(soup.average([view]), tmp_path / "c")
    found = Checkpoint(tmp_path / "c")
    assert torch.equal(found["x"], tensor + 1)
    assert torch.equal(found["z"], tensor)
    assert view.digest() == one.digest()
