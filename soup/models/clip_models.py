"""Image classifiers made of an open_clip image tower and a linear head.

The features are L2-normalised before the head. The zero-shot head is the text classifier times the
logit scale, with a bias of zero. Both are as in the code published with "Model soups".
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import open_clip
from open_clip.transform import PreprocessCfg, merge_preprocess_dict
from timm.models import group_parameters
from torch import Tensor, nn
from torch.nn import functional

from soup.config.params import Base
from soup.models.architecture import Architecture, ModelError
from soup.models.arguments import CLIP
from soup.models.clip_towers import (
    SCHEMAS,
    build_tower,
    folder_config,
    registered_name,
    tower_config,
)

# open_clip's name of a resize mode -> timm's crop mode.
CROPS = {"shortest": "center", "squash": "squash", "longest": "border"}


class ClipClassifier(nn.Module):
    """The image tower of a CLIP model and a linear head on its normalised features.

    It has the methods that timm's training code calls on a model.
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
        """The parameters that the tower exempts from weight decay, besides norms and biases."""
        trunk = self._trunk()
        prefix, tower = ("visual.", self.visual) if trunk is None else ("visual.trunk.", trunk)
        names: Callable[[], set[str]] = getattr(tower, "no_weight_decay", set)
        return {prefix + name for name in names()}

    def group_matcher(self, coarse: bool = False) -> Any:
        """The layer of each parameter, for layer-wise decay: the stem, the blocks, the head.

        What follows the last block (norm, pooling, projection) belongs to that block, as in timm.
        """
        trunk: Any = self._trunk()
        if trunk is not None:
            layers = group_parameters(trunk, trunk.group_matcher(coarse=coarse), reverse=True)
            last = max(layers.values())

            def depth(name: str) -> float:
                if not name.startswith("visual."):
                    return float("inf")
                return float(layers.get(name.removeprefix("visual.trunk."), last))

            return depth
        after = (99999,)  # timm's mark of a parameter that belongs to the group before it
        return {
            "stem": r"^visual\.(?:conv\d|bn\d|class_embedding|positional_embedding|ln_pre)",
            "blocks": [
                (r"^visual\.transformer\.resblocks\.(\d+)", None),
                (r"^visual\.layer(\d+)" if coarse else r"^visual\.layer(\d+)\.(\d+)", None),
                (r"^visual\.(?:ln_post|proj|attn_pool|attnpool)", after),
            ],
        }

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Switch gradient checkpointing on or off.

        Raises:
            AssertionError: the tower has none (open_clip's ResNets).
        """
        tower: Any = self._trunk() or self.visual
        possible = tower is not self.visual or "transformer" in dict(self.visual.named_children())
        assert possible, "open_clip's ResNet towers have no gradient checkpointing"
        tower.set_grad_checkpointing(enable)

    def _trunk(self) -> nn.Module | None:
        """The timm model in the tower, if the tower has one."""
        return dict(self.visual.named_children()).get("trunk")


def build(architecture: Architecture) -> nn.Module:
    """An image tower with random weights and a head of zeros, without a text tower.

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
    """The architecture of a model: the configuration of open_clip, overridden by the parameters.

    Args:
        base: the parameters of the initialisation.
        classes: class names; the position of a name is its label.
        whole: the CLIP model with its text tower, if it was created; says how images are prepared
            where open_clip has nothing of the name and the tag.
    """
    config = tower_config(base.model, arguments(base))
    preprocessing = _preprocessing(base, whole)
    size = config["vision_cfg"].get("image_size", 224)
    return Architecture(
        library="open_clip",
        model=base.model,
        kwargs={name: value for name, value in arguments(base).items() if name in CLIP},
        classes=classes,
        image_size=size[0] if isinstance(size, (tuple, list)) else size,
        mean=base.mean or tuple(preprocessing["mean"]),
        std=base.std or tuple(preprocessing["std"]),
        interpolation=preprocessing["interpolation"],
        crop_mode=CROPS[preprocessing["resize_mode"]],
        config=config,
    )


def _preprocessing(base: Base, whole: Any) -> Mapping[str, Any]:
    """How open_clip prepares images for the pretrained tag, or for all tags of the name alike.

    open_clip itself gives OpenAI's to a name without a tag and to a file of weights.
    """
    name = registered_name(base.model)
    if name.startswith(SCHEMAS):
        return merge_preprocess_dict(PreprocessCfg(), folder_config(name).get("preprocess_cfg", {}))
    tags = open_clip.list_pretrained_tags_by_model(name)
    tag = open_clip.get_pretrained_cfg(name, base.weights)
    told = [tag] if tag else [open_clip.get_pretrained_cfg(name, each) for each in tags]
    full = [merge_preprocess_dict(PreprocessCfg(), each) | {"size": None} for each in told]
    if full and all(each == full[0] for each in full):
        return full[0]
    return open_clip.get_model_preprocess_cfg(whole) if whole else vars(PreprocessCfg())


def arguments(base: Base) -> Mapping[str, Any]:
    """The arguments of open_clip.create_model, which resize the position embeddings if needed."""
    if base.image_size is None:
        return base.kwargs
    size = tower_config(base.model, base.kwargs)["vision_cfg"].get("image_size", 224)
    same = size in (base.image_size, [base.image_size] * 2)
    return base.kwargs if same else {**base.kwargs, "force_image_size": base.image_size}
