"""EfficientNets of the EfficientNet-PyTorch package get timm's names, tensor by tensor."""

import re
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from soup.models.conversion import FormatError, convert

MODEL = "tf_efficientnet_lite0"
# Names of the package for those of timm, written by hand, in a block without and with expansion.
FIRST = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
OTHER = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"}
OTHER |= {"conv_pwl": "_project_conv", "bn3": "_bn2"}
OUTER = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
OUTER |= {"classifier": "_fc"}


def network(classes: int) -> nn.Module:
    torch.manual_seed(1)
    model = timm.create_model(MODEL, num_classes=classes)
    for tensor in model.state_dict().values():  # all differ, so that no two can be exchanged
        tensor.copy_(torch.rand(tensor.shape))
    return model


def as_published(model: nn.Module) -> dict[str, Tensor]:
    """The tensors under the names of the package; its blocks are numbered through."""
    numbers: dict[str, int] = {}
    published = {}
    for name, tensor in model.state_dict().items():
        block = re.match(r"(blocks\.\d+\.\d+)\.(\w+)\.(\w+)", name)
        if block:
            place, layer, part = block.groups()
            number = numbers.setdefault(place, len(numbers))
            layers = FIRST if number == 0 else OTHER
            published[f"_blocks.{number}.{layers[layer]}.{part}"] = tensor
        else:
            layer, _, part = name.rpartition(".")
            published[f"{OUTER[layer]}.{part}"] = tensor
    return published


def assert_same(model: nn.Module, file: Path) -> None:
    loaded = load_file(file)
    assert set(loaded) == set(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded[name], tensor), name


@pytest.mark.parametrize("classes", [1000, 7])
def test_a_published_file_loads_into_timms_model(tmp_path: Path, classes: int) -> None:
    model = network(classes)
    torch.save(as_published(model), tmp_path / "lite0.pth")
    convert(tmp_path / "lite0.pth", tmp_path / "w.safetensors", model=f"timm:{MODEL}")
    assert_same(model, tmp_path / "w.safetensors")


def test_the_order_of_the_file_does_not_matter(tmp_path: Path) -> None:
    model = network(7)
    published = as_published(model)
    torch.save({name: published[name] for name in sorted(published)}, tmp_path / "lite0.pth")
    convert(tmp_path / "lite0.pth", tmp_path / "w.safetensors", model=f"timm:{MODEL}")
    assert_same(model, tmp_path / "w.safetensors")


def test_another_size_of_the_network_is_refused(tmp_path: Path) -> None:
    torch.save(as_published(network(7)), tmp_path / "lite0.pth")
    with pytest.raises(FormatError, match="timm:tf_efficientnet_lite1"):
        convert(
            tmp_path / "lite0.pth", tmp_path / "w.safetensors", model="timm:tf_efficientnet_lite1"
        )
