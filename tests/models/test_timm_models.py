"""Classifiers from timm: their tensors keep timm's names, and their heads are found."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from soup.config.params import Base
from soup.models import ModelError, timm_models
from soup.weights.checkpoint import Checkpoint
from tests.worlds import COLOURS, KWARGS, MODEL, put, tiny

CLASSES = tuple(COLOURS)


def base(**changes: Any) -> Base:
    return Base(**{"model": MODEL, "kwargs": KWARGS, "weights": "w.safetensors", **changes})


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(ModelError, match=r"timm does not know 'resnet10_t'; near: .*resnet10t"):
        timm_models.create("resnet10_t", {}, 2)
    with pytest.raises(ModelError, match=r"'zzz'; timm.list_models\(\) lists them"):
        timm_models.create("zzz", {}, 2)


def test_wrong_arguments_are_named_with_timm_s_reason() -> None:
    with pytest.raises(ModelError, match=r"kwargs.chanels is no argument .*near: channels"):
        timm_models.create(MODEL, {"chanels": [8]}, 2)
    with pytest.raises(ModelError, match=r"timm cannot make resnet10t with .*'depths'.*TypeError"):
        timm_models.create(MODEL, {"depths": [8]}, 2)


def test_timm_itself_loads_the_weights_strictly(tmp_path: Path) -> None:
    made, model = tiny()
    path = put(tmp_path, (made, model)) / "model.safetensors"
    theirs = timm.create_model(MODEL, num_classes=3, **KWARGS).eval()
    theirs.load_state_dict(dict(Checkpoint(path)), strict=True)
    images = torch.randn(2, 3, 20, 20)
    with torch.no_grad():
        torch.testing.assert_close(theirs(images), model(images))


def small_vit() -> torch.nn.Module:
    kwargs = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
    return timm_models.create("vit_tiny_patch16_224", kwargs, 3).eval()


@pytest.mark.parametrize("make", [lambda: tiny()[1], small_vit])
def test_the_head_on_the_features_is_the_model(make: Any) -> None:
    torch.manual_seed(0)
    model = make()
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        features = timm_models.features(model, images)
        logits = timm_models.head(model)(features)
        assert features.shape == (4, timm_models.head(model).in_features)
        torch.testing.assert_close(logits, model(images), rtol=0, atol=1e-6)


def test_another_head_takes_the_place_of_the_model_s() -> None:
    _, model = tiny()
    other = torch.nn.Linear(8, 6)
    model.set_submodule(timm_models.head_name(model), other)
    assert timm_models.head(model) is other
    assert model(torch.randn(1, 3, 20, 20)).shape == (1, 6)


def test_a_model_without_a_linear_head_is_refused() -> None:
    model = timm_models.create(MODEL, KWARGS, 0)
    with pytest.raises(ModelError, match="ResNet has no linear head to fine-tune, but Identity"):
        timm_models.head(model)


def test_input_is_the_model_s_own_unless_the_parameters_say_otherwise() -> None:
    _, model = tiny()
    own = timm_models.describe(base(), CLASSES, model)
    assert own.image_size == timm.data.resolve_model_data_config(model)["input_size"][1]
    assert (own.mean, own.crop_pct < 1) == ((0.485, 0.456, 0.406), True)
    ours = timm_models.describe(base(image_size=20, mean=(0, 0, 0), std=(1, 1, 1)), CLASSES, model)
    assert (ours.image_size, ours.crop_pct, ours.mean, ours.std) == (20, 1.0, (0, 0, 0), (1, 1, 1))
    assert (ours.model, ours.kwargs, ours.classes) == (MODEL, KWARGS, CLASSES)


def test_crop_and_interpolation_are_those_of_the_weights() -> None:
    model = timm_models.create("test_vit", {}, 3)
    model.pretrained_cfg |= {"crop_mode": "border", "crop_pct": 0.9, "interpolation": "bilinear"}  # type: ignore[operator]
    own = timm_models.describe(base(model="test_vit", kwargs={}), CLASSES, model)
    assert (own.crop_mode, own.crop_pct, own.interpolation) == ("border", 0.9, "bilinear")
    assert (own.image_size, own.mean) == (160, (0.5, 0.5, 0.5))
