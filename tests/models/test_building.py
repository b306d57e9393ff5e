"""What a model is made of on disk, and what is said of weights that do not fit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from soup.models import Architecture, ModelError, build, building, library, load_weights, open_model
from soup.weights.shards import CheckpointError
from tests.worlds import architecture, put, tiny


def test_an_architecture_comes_back_from_its_file(tmp_path: Path) -> None:
    made = replace(architecture(), interpolation="bilinear", crop_pct=0.875)
    made.save(tmp_path / "model.json")
    assert Architecture.load(tmp_path / "model.json") == made


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"classes": None}, "NoneType"),
        ({"colour": 1}, "colour"),
        ("{", "Expecting property name"),
        (None, "No such file"),
    ],
)
def test_a_description_that_is_none_is_refused_by_name(
    tmp_path: Path, change: Any, reason: str
) -> None:
    path = tmp_path / "model.json"
    if isinstance(change, dict):
        architecture().save(path)
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    elif change is not None:
        path.write_text(change)
    with pytest.raises(ModelError, match=f"model.json does not describe a model: .*{reason}"):
        Architecture.load(path)


def test_an_unknown_library_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match="unknown library 'keras'; known: timm, open_clip"):
        library("keras")


def test_a_model_comes_back_from_its_folder_in_evaluation_mode(tmp_path: Path) -> None:
    made, model = tiny(drop_rate=0.5)
    images = torch.randn(3, 3, 20, 20)
    read, again = open_model(put(tmp_path, (made, model)))
    assert read == made
    assert not again.training
    with torch.no_grad():
        assert torch.equal(again(images), model(images))


def test_all_that_does_not_fit_is_listed_with_both_shapes() -> None:
    _, model = tiny()
    weights = {n: t for n, t in model.state_dict().items() if n != "bn1.bias"}
    head = next(n for n in weights if n == "fc.weight")
    weights[head] = torch.zeros(7, 8)
    weights["extra.bias"] = torch.zeros(1)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    with pytest.raises(ModelError) as caught:
        load_weights(model, weights, "the tiny one")
    assert str(caught.value).splitlines() == [
        "the weights do not fit the tiny one:",
        "  missing: bn1.bias",
        "  unexpected: extra.bias",
        "  fc.weight is (7, 8), the model wants (3, 8)",
    ]
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


@pytest.mark.parametrize("wrapped", ["module.{}", "model._orig_mod.{}"])
def test_wrappers_in_the_names_are_said_with_the_remedy(wrapped: str) -> None:
    _, model = tiny()
    weights = {wrapped.format(name): tensor for name, tensor in model.state_dict().items()}
    with pytest.raises(ModelError, match=r"names differ by wrappers .* alone: .*soup import"):
        load_weights(model, weights, "tiny")


def test_a_long_list_of_misfits_is_cut_and_counted() -> None:
    _, model = tiny()
    with pytest.raises(ModelError, match=rf"and {len(model.state_dict()) - 12} more$"):
        load_weights(model, {}, "tiny")


def test_a_truncated_weights_file_is_named(tmp_path: Path) -> None:
    path = put(tmp_path, tiny()) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model.safetensors: not a readable safetensors"):
        open_model(tmp_path)


def test_building_does_not_touch_the_given_weights() -> None:
    made, model = tiny()
    weights = {n: t.clone() for n, t in model.state_dict().items()}
    other = build(made, weights)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    assert all(torch.equal(t, weights[n]) for n, t in model.state_dict().items())


def test_without_transformers_the_extra_that_has_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name="transformers")

    monkeypatch.setattr(building, "import_module", missing)
    with pytest.raises(ModelError, match=r"transformers, which is not installed.*'\.\[text\]'"):
        building.library("transformers")
