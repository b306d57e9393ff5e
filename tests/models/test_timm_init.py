"""The base from timm: pretrained or of a file, its head new or kept, and what is said if not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from soup.config.params import Base
from soup.models import ModelError, timm_init, timm_models
from soup.models.stored_description import note
from soup.weights.checkpoint import Checkpoint, save
from soup.weights.shards import CheckpointError
from tests.worlds import COLOURS, KWARGS, MODEL, put, tiny

CLASSES = tuple(COLOURS)


def base(**changes: Any) -> Base:
    return Base(**{"model": MODEL, "kwargs": KWARGS, "weights": "w.safetensors", **changes})


def test_a_new_head_is_zeros_and_the_rest_as_in_the_weights(tmp_path: Path) -> None:
    path = put(tmp_path, tiny()) / "model.safetensors"
    classes = ("a", "b", "c", "d", "e")  # another number than in the weights
    made, model = timm_init.make_base(base(weights=str(path), head="new"), classes)
    kept = Checkpoint(path)
    assert not timm_models.head(model).weight.any()
    assert not timm_models.head(model).bias.any()
    assert timm_models.head(model).out_features == 5
    body = {n: t for n, t in model.state_dict().items() if not n.startswith("fc.")}
    assert body
    assert all(torch.equal(t, kept[n]) for n, t in body.items())
    assert made.classes == classes
    assert not model.training


def test_weights_without_a_head_serve_for_a_new_one(tmp_path: Path) -> None:
    body = {n: t for n, t in tiny()[1].state_dict().items() if not n.startswith("fc.")}
    save(body, tmp_path / "body.safetensors")
    weights = str(tmp_path / "body.safetensors")
    _, model = timm_init.make_base(base(weights=weights), CLASSES)
    assert not timm_models.head(model).weight.any()
    with pytest.raises(ModelError, match=r"(?s)missing: fc.weight.*missing: fc.bias"):
        timm_init.make_base(base(weights=weights, head="keep"), CLASSES)


def test_a_kept_head_is_that_of_the_weights_and_must_fit(tmp_path: Path) -> None:
    path = put(tmp_path, tiny()) / "model.safetensors"
    _, model = timm_init.make_base(base(weights=str(path), head="keep"), CLASSES)
    kept = Checkpoint(path)
    assert timm_models.head(model).weight.any()
    assert all(torch.equal(t, kept[n]) for n, t in model.state_dict().items())
    with pytest.raises(ModelError) as caught:
        timm_init.make_base(base(weights=str(path), head="keep"), ("a", "b"))
    assert "fc.weight is (3, 8), the model wants (2, 8)" in str(caught.value)
    assert "fc.bias is (3,), the model wants (2,)" in str(caught.value)


def test_a_kept_head_has_the_classes_and_the_input_that_its_file_tells(tmp_path: Path) -> None:
    architecture, model = tiny()
    told: dict[str, Any] = {
        "classes": ("red", "blue", "green"),
        "image_size": 32,
        "mean": (0.1, 0.2, 0.3),
        "std": (0.7, 0.8, 0.9),
        "interpolation": "bilinear",
        "crop_pct": 0.9,
        "crop_mode": "squash",
    }
    put(tmp_path, (replace(architecture, **told), model))  # in model.json, beside the weights
    inside = {"architecture": note(vars(architecture) | told)}
    (tmp_path / "alone").mkdir()
    save(model.state_dict(), tmp_path / "alone" / "w.safetensors", inside)
    for file in (tmp_path / "model.safetensors", tmp_path / "alone" / "w.safetensors"):
        kept = base(weights=str(file), head="keep")
        made, again = timm_init.make_base(kept, CLASSES)
        assert made == replace(architecture, **{**told, "classes": CLASSES})
        for name, tensor in timm_models.head(again).state_dict().items():
            assert torch.equal(tensor, timm_models.head(model).state_dict()[name][[1, 2, 0]])
    chosen, _ = timm_init.make_base(
        kept.model_copy(update={"image_size": 64, "mean": (0.4, 0.4, 0.4)}), CLASSES
    )
    assert (chosen.image_size, chosen.mean, chosen.std) == (64, (0.4, 0.4, 0.4), (0.7, 0.8, 0.9))
    with pytest.raises(ModelError, match=r"knows the classes red, blue, green, the data has a, b"):
        timm_init.make_base(kept, ("a", "b", "c"))


def test_a_weights_file_that_is_missing_or_cut_short_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"base.weights: nowhere.safetensors is not a file; give"):
        timm_init.make_base(base(weights="nowhere.safetensors"), CLASSES)
    path = put(tmp_path, tiny()) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CheckpointError, match=r"model.safetensors: not a readable"):
        timm_init.make_base(base(weights=str(path)), CLASSES)


def test_a_file_of_torch_save_serves_as_well(tmp_path: Path) -> None:
    _, model = tiny()
    state = {f"module.{n}": t for n, t in model.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "w.pt")
    _, made = timm_init.make_base(base(weights=str(tmp_path / "w.pt"), head="keep"), CLASSES)
    assert all(torch.equal(t, made.state_dict()[n]) for n, t in model.state_dict().items())


def test_an_unknown_tag_and_no_weights_at_all_are_answered_with_what_there_is() -> None:
    with pytest.raises(ModelError, match=r"no weights 'in22' of test_vit; its tags: r160_in1k"):
        timm_init.make_base(base(model="test_vit.in22", weights="pretrained"), CLASSES)
    with pytest.raises(ModelError, match=r"no pretrained weights of resnet10t_x|does not know"):
        timm_init.make_base(base(model="resnet10t_x", weights="pretrained"), CLASSES)
    with pytest.raises(
        ModelError, match=r"r160_in1k is not a file.* base.model: test_vit.TAG; its t"
    ):
        timm_init.make_base(base(model="test_vit", weights="r160_in1k"), CLASSES)
    bare = "resnet14t_untrained"

    def made(**kwargs: Any) -> torch.nn.Module:
        return timm.create_model(MODEL, **kwargs)

    made.__name__, made.__module__ = bare, __name__
    timm.models._registry._model_entrypoints[bare] = made
    try:
        with pytest.raises(ModelError, match=f"no pretrained weights of {bare}; name a file of"):
            timm_init.make_base(base(model=bare, weights="pretrained"), CLASSES)
    finally:
        del timm.models._registry._model_entrypoints[bare]


def test_weights_that_cannot_be_fetched_say_what_to_get_and_where_to_put_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", offline)
    with pytest.raises(ModelError) as caught:
        timm_init.make_base(base(model="test_vit", kwargs={}, weights="pretrained"), CLASSES)
    text = str(caught.value)
    assert text.startswith(
        "cannot fetch the weights 'r160_in1k' of test_vit (OSError: no route to host)"
    )
    assert "hf download timm/test_vit.r160_in1k" in text
    assert "base.weights: FILE" in text


def test_a_kept_head_of_pretrained_weights_must_know_as_many_classes() -> None:
    wanted = base(model="test_vit", kwargs={}, weights="pretrained", head="keep")
    with pytest.raises(
        ModelError, match=r"test_vit know 1000 classes, but there are 3 class folders"
    ):
        timm_init.make_base(wanted, CLASSES)


@pytest.mark.parametrize("head", ["new", "keep"])
def test_a_model_that_ends_in_a_convolution_is_refused(tmp_path: Path, head: Any) -> None:
    small = {"layers": [1, 1, 1, 1], "channels": [32, 32, 32, 32], "stem_chs": 32}
    model = timm_models.create("resnetv2_50", small, 3)
    save(model.state_dict(), tmp_path / "w.safetensors")
    wanted = base(
        model="resnetv2_50", kwargs=small, weights=str(tmp_path / "w.safetensors"), head=head
    )
    with pytest.raises(
        ModelError, match=r"ResNetV2 has no linear head .* Conv2d.*; choose a model"
    ):
        timm_init.make_base(wanted, CLASSES)


def test_weights_of_another_architecture_are_told_by_what_they_look_like(tmp_path: Path) -> None:
    save(timm.create_model("test_vit", num_classes=7).state_dict(), tmp_path / "v.safetensors")
    with pytest.raises(ModelError) as caught:
        timm_init.make_base(base(weights=str(tmp_path / "v.safetensors")), CLASSES)
    text = str(caught.value)
    assert "missing: conv1.0.weight" in text
    assert "they look like a ViT of timm's (width 64, patch 16, blocks 6, 7 classes)" in text
    assert "the model is a ResNet of basic blocks (blocks 1-1-1-1, 3 classes)" in text
