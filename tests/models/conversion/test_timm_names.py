"""Weights come out under the names of a timm model and load into it, or every misfit is listed."""

import sys
from argparse import Namespace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import nn

from soup.models.conversion import FormatError, convert
from tests.forked import Forks

RESNET = "resnet10t"
# Original names of ConvNeXt, as its authors publish them, for those that timm changed.
CONVNEXT = [
    ("stem.", "downsample_layers.0."),
    ("head.norm.", "norm."),
    ("head.fc.", "head."),
]


def make(name: str, seed: int, classes: int, **options: int) -> nn.Module:
    torch.manual_seed(seed)
    return timm.create_model(name, num_classes=classes, **options)


def assert_loads(path: Path, name: str, expected: nn.Module, classes: int) -> None:
    fresh = make(name, 9, classes)
    fresh.load_state_dict(load_file(path))
    for key, tensor in expected.state_dict().items():
        assert torch.equal(fresh.state_dict()[key], tensor), key


@pytest.mark.parametrize("ema", [False, True])
def test_a_timm_training_checkpoint_loads_into_the_model(tmp_path: Path, ema: bool) -> None:
    raw, average = make(RESNET, 1, 7), make(RESNET, 2, 7)
    optimizer = torch.optim.AdamW(raw.parameters())
    raw(torch.rand(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    content = {
        "epoch": 3,
        "arch": RESNET,
        "state_dict": raw.state_dict(),
        "optimizer": optimizer.state_dict(),
        "version": 2,
        "args": Namespace(model=RESNET),
        "state_dict_ema": {f"module.{n}": t for n, t in average.state_dict().items()},
    }
    torch.save(content, tmp_path / "last.pth.tar")
    found = convert(tmp_path / "last.pth.tar", tmp_path / "w", ema=ema, model=f"timm:{RESNET}")
    assert_loads(tmp_path / "w", RESNET, average if ema else raw, classes=7)
    assert (found.layout, found.made, found.renamed) == ("timm", (), {})


def original_convnext(model: nn.Module) -> dict[str, torch.Tensor]:
    """The model's tensors under the names that its authors gave them, written by hand."""
    weights = {}
    for name, tensor in model.state_dict().items():
        for new, old in CONVNEXT:
            if name.startswith(new):
                name = name.replace(new, old, 1)  # noqa: PLW2901
                break
        parts = name.split(".")
        if parts[0] == "stages" and parts[2] == "downsample":
            name = f"downsample_layers.{parts[1]}.{'.'.join(parts[3:])}"  # noqa: PLW2901
        elif parts[0] == "stages":
            moved = {"conv_dw": "dwconv", "mlp.fc1": "pwconv1", "mlp.fc2": "pwconv2"}
            name = ".".join([*parts[:2], *parts[3:]])  # noqa: PLW2901
            for new, old in moved.items():
                name = name.replace(new, old)  # noqa: PLW2901
        weights[name] = tensor
    return weights


def test_original_names_are_mapped_by_timms_own_function(tmp_path: Path) -> None:
    model = make("convnext_atto", 1, 5, conv_mlp=False)
    torch.save({"model": original_convnext(model)}, tmp_path / "w.pth")
    name = "convnext_atto"
    found = convert(tmp_path / "w.pth", tmp_path / "w", model=f"timm:{name}")
    assert found.renamed["downsample_layers.0.0.weight"] == "stem.0.weight"
    assert found.renamed["head.bias"] == "head.fc.bias"
    fresh = make(name, 9, 5)
    fresh.load_state_dict(load_file(tmp_path / "w"))
    model.eval(), fresh.eval()
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(model(image), fresh(image))


def test_what_timm_resampled_is_said(tmp_path: Path) -> None:
    model = make("test_vit", 1, 3, img_size=96)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    found = convert(tmp_path / "w.pth", tmp_path / "w", model="timm:test_vit")
    assert found.made == ("pos_embed",)
    assert found.dropped == ("pos_embed",)


def test_weights_that_fit_are_left_alone_by_timms_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules[timm.model_entrypoint("test_vit").__module__]
    monkeypatch.setattr(module, "checkpoint_filter_fn", lambda *a: pytest.fail("called"))
    model = make("test_vit", 1, 3)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    convert(tmp_path / "w.pth", tmp_path / "w", model="timm:test_vit")
    assert_loads(tmp_path / "w", "test_vit", model, classes=3)


def test_what_timm_adds_from_a_model_without_weights_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules[timm.model_entrypoint("test_vit").__module__]
    monkeypatch.setattr(module, "checkpoint_filter_fn", lambda _, model: model.state_dict())
    torch.save({"a": torch.ones(2)}, tmp_path / "w.pth")
    with pytest.raises(FormatError, match=r"w.pth: cls_token is without data \(meta\)"):
        convert(tmp_path / "w.pth", tmp_path / "w", model="timm:test_vit")


def test_every_misfit_is_listed(tmp_path: Path) -> None:
    weights = dict(make(RESNET, 1, 3).state_dict())
    weights["extra"] = weights.pop("bn1.bias")
    weights["conv1.0.weight"] = torch.rand(24, 1, 3, 3)
    torch.save(weights, tmp_path / "w.pth")
    with pytest.raises(FormatError) as raised:
        convert(tmp_path / "w.pth", tmp_path / "w", model=f"timm:{RESNET}")
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / 'w.pth'}: the weights do not fit timm:{RESNET}:\n")
    assert "\n  missing: bn1.bias\n  unexpected: extra\n" in message
    assert "conv1.0.weight is (24, 1, 3, 3), the model wants (24, 3, 3, 3)\n" in message
    assert "head" not in message.replace("fc", "")
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("name", ["test_vit", "convnext_atto", "swin_tiny_patch4_window7_224"])
def test_weights_of_another_model_are_an_error(tmp_path: Path, name: str) -> None:
    torch.save({"a.weight": torch.rand(3), "head.weight": torch.rand(3)}, tmp_path / "w.pth")
    with pytest.raises(
        FormatError, match=f"w.pth: (the weights do not fit|timm cannot map).*{name}"
    ):
        convert(tmp_path / "w.pth", tmp_path / "w", model=f"timm:{name}")


@pytest.mark.parametrize("model", ["timm:resnet10", "timm:", "clip:ViT-B-32", RESNET])
def test_an_unknown_model_is_an_error(tmp_path: Path, model: str) -> None:
    torch.save({"a.weight": torch.rand(3)}, tmp_path / "w.pth")
    wanted = "near: resnet10t" if model == "timm:resnet10" else "give 'timm:NAME'"
    with pytest.raises(FormatError, match=wanted):
        convert(tmp_path / "w.pth", tmp_path / "w", model=model)


def test_import_of_formats_loads_no_timm(with_torch: Forks) -> None:
    ended = with_torch.python("import soup.models.conversion")
    assert ended.code == 0, ended.err
    assert not ended.loaded & {"timm", "open_clip"}
