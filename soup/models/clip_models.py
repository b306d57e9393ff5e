"""Image towers from open_clip, with a linear head: zero-shot from prompts, or new.

As in the paper's published code, features are L2-normalised before the head, and the zero-shot head
is the text classifier times the logit scale, with a zero bias.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import open_clip
from open_clip.transform import PreprocessCfg
from timm.models import group_parameters
from torch import Tensor, nn
from torch.nn import functional

from soup.config.params import Base
from soup.models.architecture import Architecture, ModelError
from soup.models.clip_towers import build_tower, tower_config

# open_clip's words for what timm calls a crop mode.
CROPS = {"shortest": "center", "squash": "squash", "longest": "border"}


class ClipClassifier(nn.Module):
    """The image tower of a CLIP model and a linear head on its normalised features.

    Has what timm's training tools ask a model for, so that they take it as one of timm's.
    """

    def __init__(self, visual: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.visual = visual
        self.head = nn.Linear(features, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def features(self, images: Tensor) -> Tensor:
        """(batch, 3, height, width) -> unit vectors (batch, features)."""
        return functional.normalize(self.visual(images), dim=-1)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits

    def no_weight_decay(self) -> set[str]:
        """Parameters that are not decayed, besides norms and biases: what the tower says."""
        trunk = self._trunk()
        prefix, tower = ("visual.", self.visual) if trunk is None else ("visual.trunk.", trunk)
        names: Callable[[], set[str]] = getattr(tower, "no_weight_decay", set)
        return {prefix + name for name in names()}

    def group_matcher(self, coarse: bool = False) -> Any:
        """Which parameters are how deep: the stem, the blocks, and the head by itself.

        What follows the last block (norm, pooling, projection) belongs to it, as timm has it.
        """
        trunk: Any = self._trunk()
        if trunk is not None:
            own = group_parameters(trunk, trunk.group_matcher(coarse=coarse), reverse=True)
            last = max(own.values())

            def depth(name: str) -> float:
                if not name.startswith("visual."):
                    return float("inf")
                return float(own.get(name.removeprefix("visual.trunk."), last))

            return depth
        after = (99999,)  # timm's mark of what belongs to the group before it
        return {
            "stem": r"^visual\.(?:conv\d|bn\d|class_embedding|positional_embedding|ln_pre)",
            "blocks": [
                (r"^visual\.transformer\.resblocks\.(\d+)", None),
                (r"^visual\.layer(\d+)" if coarse else r"^visual\.layer(\d+)\.(\d+)", None),
                (r"^visual\.(?:ln_post|proj|attn_pool|attnpool)", after),
            ],
        }

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """
        Raises:
            AssertionError: the tower cannot (open_clip's ResNets).
        """
        tower: Any = self._trunk() or self.visual
        possible = tower is not self.visual or "transformer" in dict(self.visual.named_children())
        assert possible, "open_clip's ResNet towers have no gradient checkpointing"
        tower.set_grad_checkpointing(enable)

    def _trunk(self) -> nn.Module | None:
        """The model of timm's in the tower, if it is one."""
        return dict(self.visual.named_children()).get("trunk")


def build(architecture: Architecture) -> nn.Module:
    """An image tower with random weights and a head of zeros; no text tower is made for it.

    Raises:
        ModelError: open_clip does not know the name, or does not take the configuration.
    """
    config = architecture.config or tower_config(architecture.model, architecture.kwargs)
    return ClipClassifier(build_tower(config), config["embed_dim"], len(architecture.classes))


def features(model: nn.Module, images: Tensor) -> Tensor:
    assert isinstance(model, ClipClassifier)
    return model.features(images)


def head(model: nn.Module) -> nn.Linear:
    assert isinstance(model, ClipClassifier)
    return model.head


def with_drop_path(architecture: Architecture, rate: float) -> Architecture:
    """The same model with stochastic depth at this rate in its last block.

    Raises:
        ModelError: a tower of open_clip's own, which has none.
    """
    config = architecture.config or tower_config(architecture.model, architecture.kwargs)
    vision = config["vision_cfg"]
    if "timm_model_name" not in vision:
        raise ModelError(
            f"{architecture.model} has no drop path: of open_clip's image towers only those of "
            "timm have it; set it to 0"
        )
    return replace(
        architecture, config={**config, "vision_cfg": {**vision, "timm_drop_path": rate}}
    )


def describe(base: Base, classes: tuple[str, ...], whole: Any = None) -> Architecture:
    """How to build and feed a model: its own configuration, overridden by the parameters.

    Args:
        whole: the CLIP model, if it is at hand: it knows how weights from a hub want their images.
    """
    config = tower_config(base.model, arguments(base))
    own = vars(PreprocessCfg())
    if whole is not None:
        own = open_clip.get_model_preprocess_cfg(whole)
    size = config["vision_cfg"].get("image_size", 224)
    return Architecture(
        library="open_clip",
        model=base.model,
        kwargs=arguments(base),
        classes=classes,
        image_size=size[0] if isinstance(size, (tuple, list)) else size,
        mean=base.mean or tuple(own["mean"]),
        std=base.std or tuple(own["std"]),
        interpolation=own["interpolation"],
        crop_mode=CROPS[own["resize_mode"]],
        config=config,
    )


def arguments(base: Base) -> Mapping[str, Any]:
    """Those given; with another size of images the tower's positions are resized."""
    if base.image_size is None:
        return base.kwargs
    own = tower_config(base.model, base.kwargs)["vision_cfg"].get("image_size", 224)
    same = own in (base.image_size, [base.image_size] * 2)
    return base.kwargs if same else {**base.kwargs, "force_image_size": base.image_size}
