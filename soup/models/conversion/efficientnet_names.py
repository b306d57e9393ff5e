"""EfficientNets under the names of the EfficientNet-PyTorch package, put under timm's names.

The package numbers the blocks through, and timm within stages; a block without expansion has its
layers one place earlier in both.
"""

from collections.abc import Iterable, Mapping

from torch import Tensor

# A layer in timm -> in the package.
OUTER = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
OUTER |= {"classifier": "_fc"}
SQUEEZE = {"se.conv_reduce": "_se_reduce", "se.conv_expand": "_se_expand"}
PLAIN = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
EXPANDED = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"}
EXPANDED |= {"conv_pwl": "_project_conv", "bn3": "_bn2"}


def is_foreign(weights: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of the package."""
    return "_conv_stem.weight" in weights and "_blocks.0._depthwise_conv.weight" in weights


def renamed(weights: Mapping[str, Tensor], known: Iterable[str]) -> dict[str, Tensor]:
    """The tensors under timm's names; one that timm does not have keeps its name.

    Args:
        weights: tensor name -> tensor.
        known: the names of the same network in timm, in timm's order.
    """
    numbers: dict[str, int] = {}
    names = {}
    for name in known:
        layer, _, part = name.rpartition(".")
        place, layers = "", OUTER
        if layer.startswith("blocks."):
            _, stage, at, layer = layer.split(".", 3)
            number = numbers.setdefault(f"{stage}.{at}", len(numbers))
            place = f"_blocks.{number}."
            expanded = f"{place}_expand_conv.weight" in weights
            layers = SQUEEZE | (EXPANDED if expanded else PLAIN)
        names[f"{place}{layers.get(layer, layer)}.{part}"] = name
    return {names.get(name, name): tensor for name, tensor in weights.items()}
