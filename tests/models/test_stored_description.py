"""What checkpoints say of their model, as timm and this project write it."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import save_for_hf
from timm.utils import CheckpointSaver

from soup.models import Architecture, ModelError, build
from soup.models.by_name import disagreements, numbered, resolve_architecture
from soup.models.conversion import convert
from soup.weights.checkpoint import Checkpoint, save
from tests.worlds import COLOURS, KWARGS, MODEL, put, tiny, tiny_clip

CLASSES = tuple(COLOURS)
ARGUMENTS: dict[str, Any] = {
    "model": MODEL, "model_kwargs": KWARGS, "img_size": 64, "input_size": None, "crop_pct": 1.0,
    "mean": [0.1, 0.2, 0.3], "std": [0.5], "interpolation": "bilinear", "gp": "max",
    "eval_metric": "top1",
}  # fmt: skip


def network(**kwargs: Any) -> torch.nn.Module:
    return timm.create_model(MODEL, num_classes=3, **KWARGS, **kwargs)


def bare(folder: Path) -> Checkpoint:
    """Weights that say nothing."""
    save(network().state_dict(), folder / "bare.safetensors")
    return Checkpoint(folder / "bare.safetensors")


def trained(folder: Path, **arguments: Any) -> Path:
    """A checkpoint of timm's train.py."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    args = Namespace(**{**ARGUMENTS, **arguments})
    folder.mkdir(exist_ok=True)
    saver = CheckpointSaver(model, optimizer, args, checkpoint_dir=str(folder))
    saver.save_checkpoint(0, metric=50.0)
    return folder / "last.pth.tar"


def shown(architecture: Architecture) -> tuple[Any, ...]:
    a = architecture
    return a.image_size, a.crop_pct, a.crop_mode, a.interpolation, a.mean, a.std


def test_a_training_checkpoint_of_timm_keeps_its_input_through_import(tmp_path: Path) -> None:
    convert(trained(tmp_path), tmp_path / "a.safetensors")
    resolved = resolve_architecture(None, Checkpoint(tmp_path / "a.safetensors"), CLASSES)
    expected = (64, 1.0, "center", "bilinear", (0.1, 0.2, 0.3), (0.5,) * 3)
    assert shown(resolved.architecture) == expected
    assert resolved.architecture.kwargs == {**KWARGS, "global_pool": "max"}
    assert not resolved.named
    assert Checkpoint(tmp_path / "a.safetensors").metadata["accuracy"] == "0.5"
    assert "images as 64 x 64 px, crop 1, bilinear, mean 0.1 0.2 0.3" in str(resolved)


def test_what_the_arguments_leave_open_is_timms_own(tmp_path: Path) -> None:
    nothing = dict.fromkeys(["img_size", "crop_pct", "mean", "std", "gp"])
    convert(trained(tmp_path, **nothing, interpolation=""), tmp_path / "a.safetensors")
    resolved = resolve_architecture(None, Checkpoint(tmp_path / "a.safetensors"), CLASSES)
    usual = timm.data.resolve_model_data_config(network())
    assert resolved.architecture.image_size == usual["input_size"][1]
    assert resolved.architecture.crop_pct == usual["crop_pct"]
    assert set(resolved.sources.values()) == {"timm's defaults"}


@pytest.mark.parametrize("labels", [list(CLASSES), dict(enumerate(CLASSES)), None])
def test_a_folder_that_timm_saved_for_the_hub_says_all(tmp_path: Path, labels: Any) -> None:
    config = {"pretrained_cfg": {"input_size": (3, 48, 48), "crop_pct": 0.75, "mean": (0.1,) * 3}}
    config |= {"label_names": labels} if labels else {}
    model = network(global_pool="avgmax")
    save_for_hf(
        model, tmp_path, safe_serialization=True, model_config={**config, "model_args": KWARGS}
    )
    for path in (tmp_path, tmp_path / "model.safetensors"):
        resolved = resolve_architecture(None, Checkpoint(path), ("x", "y", "z"))
        assert shown(resolved.architecture)[:2] == (48, 0.75)
        assert resolved.architecture.mean == (0.1, 0.1, 0.1)
        assert resolved.architecture.kwargs["global_pool"] == "avgmax"
        assert resolved.architecture.classes == (CLASSES if labels else ("x", "y", "z"))
    convert(tmp_path, tmp_path.parent / "out.safetensors")
    again = resolve_architecture(None, Checkpoint(tmp_path.parent / "out.safetensors"), CLASSES)
    assert shown(again.architecture) == shown(resolved.architecture)


def test_options_go_before_the_file_and_the_file_before_the_library(tmp_path: Path) -> None:
    convert(trained(tmp_path), tmp_path / "a.safetensors", given={"image_size": 32})
    given = {"mean": (0.4,) * 3, "kwargs": {"global_pool": "avg"}}
    weights = Checkpoint(tmp_path / "a.safetensors")
    resolved = resolve_architecture(f"timm:{MODEL}", weights, CLASSES, given)
    assert shown(resolved.architecture)[:2] == (32, 1.0)
    assert resolved.architecture.mean == (0.4, 0.4, 0.4)
    assert resolved.architecture.kwargs == {**KWARGS, "global_pool": "avg"}
    assert "mean 0.4 0.4 0.4 (--mean)" in str(resolved)


def test_what_is_said_of_another_model_says_nothing_of_this_one(tmp_path: Path) -> None:
    convert(trained(tmp_path), tmp_path / "a.safetensors")
    weights = Checkpoint(tmp_path / "a.safetensors")
    other = resolve_architecture("timm:resnet18", weights, CLASSES)
    assert (other.architecture.image_size, other.architecture.kwargs) == (224, {})
    tagged = resolve_architecture(f"timm:{MODEL}.c3_in1k", weights, CLASSES)
    assert tagged.architecture.image_size == 64


def test_a_model_of_fixed_size_is_built_for_the_size_that_is_given(tmp_path: Path) -> None:
    weights, name = bare(tmp_path), "timm:vit_tiny_patch16_224"
    by_size = resolve_architecture(name, weights, CLASSES, {"image_size": 64}).architecture
    assert by_size.kwargs == {"img_size": 64}
    by_argument = resolve_architecture(name, weights, CLASSES, {"kwargs": {"img_size": 64}})
    assert by_argument.architecture == by_size


def test_a_model_json_may_leave_out_what_the_library_knows(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"model": MODEL, "image_size": 96, "kwargs": KWARGS}))
    resolved = resolve_architecture(str(path), bare(tmp_path), CLASSES)
    assert (resolved.architecture.image_size, resolved.named) == (96, False)
    path.write_text(json.dumps({"model": MODEL, "classes": ["cat", "dog", "owl"]}))
    resolved = resolve_architecture(str(path), bare(tmp_path), CLASSES)
    assert (resolved.architecture.classes, resolved.named) == (("cat", "dog", "owl"), True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ({"image_size": "large"}, "image_size"),
        ({"mean": [0.5, 0.5]}, "mean"),
        ({"size": 64}, "size: unknown key"),
        ({"classes": "abc", "crop_pct": None}, "crop_pct"),
    ],
)
def test_a_wrong_model_json_is_refused_with_what_is_wrong(
    tmp_path: Path, text: dict[str, Any], reason: str
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"model": MODEL, **text}))
    with pytest.raises(ModelError, match=f"mine.json does not describe a model: .*{reason}"):
        resolve_architecture(str(path), bare(tmp_path), CLASSES)


@pytest.mark.parametrize("text", ["{", '{"architecture": "x", "pretrained_cfg": [1]}', "[]"])
def test_a_damaged_config_of_timm_is_named(tmp_path: Path, text: str) -> None:
    weights = bare(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"config\.json is not what timm writes"):
        resolve_architecture(None, weights, CLASSES)


def test_a_config_of_another_library_says_nothing(tmp_path: Path) -> None:
    weights = bare(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": ["ViTModel"], "image_size": 224}')
    with pytest.raises(ModelError, match="does not say what model it belongs to"):
        resolve_architecture(None, weights, CLASSES)


def test_an_input_that_is_not_square_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="takes images of 48 x 64"):
        convert(trained(tmp_path, input_size=(3, 64, 48)), tmp_path / "a.safetensors")


def test_checkpoints_that_disagree_are_named(tmp_path: Path) -> None:
    opened = {}
    for name, size, mean in (("a", 64, [0.5]), ("b", 96, [0.5]), ("c", 64, [0.4])):
        checkpoint = trained(tmp_path / name, img_size=size, mean=mean)
        convert(checkpoint, tmp_path / f"{name}.safetensors")
        opened[name] = Checkpoint(tmp_path / f"{name}.safetensors")
    resolved = resolve_architecture(None, opened["a"], CLASSES)
    assert disagreements(resolved, opened) == [
        "b says image size 96, not 64",
        "c says mean (0.4, 0.4, 0.4), not (0.5, 0.5, 0.5)",
    ]
    chosen = resolve_architecture(None, opened["a"], CLASSES, {"image_size": 64})
    assert disagreements(chosen, {"b": opened["b"]}) == []


def test_class_names_in_another_order_are_a_disagreement(tmp_path: Path) -> None:
    architecture, model = tiny()
    first = Checkpoint(put(tmp_path, (architecture, model)) / "model.safetensors")
    turned = Architecture(**{**vars(architecture), "classes": CLASSES[::-1]})
    save(model.state_dict(), tmp_path / "b.safetensors", {"architecture": turned.text()})
    resolved = resolve_architecture(None, first, ())
    other = {"b": Checkpoint(tmp_path / "b.safetensors")}
    assert disagreements(resolved, other) == ["b has other classes, or in another order"]


def test_classes_without_names_are_numbered_by_the_rows_of_the_head(tmp_path: Path) -> None:
    weights = bare(tmp_path)
    resolved = resolve_architecture(f"timm:{MODEL}", weights, ("?",), {"kwargs": KWARGS})
    assert numbered(resolved, weights).classes == ("0", "1", "2")


def test_a_model_of_open_clip_takes_the_same_options(tmp_path: Path) -> None:
    config, _ = tiny_clip(tmp_path / "clip")  # a path that ends in .json, and is no model.json
    given = {"image_size": 32, "mean": (0.1, 0.2, 0.3), "crop_pct": 0.5}
    resolved = resolve_architecture(f"open_clip:{config}", bare(tmp_path), CLASSES, given)
    assert shown(resolved.architecture)[:2] == (32, 0.5)
    assert resolved.architecture.mean == (0.1, 0.2, 0.3)
    assert build(resolved.architecture)(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    stored = {"architecture": resolved.architecture.text()}
    save({"w": torch.ones(1)}, tmp_path / "soup", stored)
    again = resolve_architecture(f"open_clip:{config}", Checkpoint(tmp_path / "soup"), ())
    assert again.architecture == resolved.architecture
