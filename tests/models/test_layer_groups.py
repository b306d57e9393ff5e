"""Layers by their depth: timm's own groups and rates, for its models and for image towers."""

import copy
from typing import Any

import pytest
import timm
import timm.optim
import torch
from timm.layers import DropPath
from torch import nn

from soup.models import Architecture, ModelError, build
from soup.models.clip_models import ClipClassifier
from soup.models.layer_groups import checkpoint_gradients, parameter_groups, set_drop_path

FAMILIES = ["test_vit", "test_resnet", "test_efficientnet", "test_convnext"]
TOWERS: dict[str, dict[str, Any]] = {
    "vit": {"image_size": 16, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "resnet": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8},
    "timm": {"timm_model_name": "test_efficientnet", "image_size": 32},
}


def of_timm(name: str, **kwargs: Any) -> Architecture:
    return Architecture("timm", name, ("a", "b"), 160, (0.5,) * 3, (0.5,) * 3, kwargs=kwargs)


def tower(kind: str) -> Architecture:
    config = {"embed_dim": 16, "quick_gelu": False, "vision_cfg": TOWERS[kind], "input_size": None}
    size = TOWERS[kind]["image_size"]
    return Architecture(
        "open_clip", "tiny", ("a", "b"), size, (0.5,) * 3, (0.5,) * 3, config=config
    )


def scales(groups: list[dict[str, Any]]) -> dict[int, tuple[float, float]]:
    """Parameter -> its decay and the scale of its rate."""
    return {
        id(p): (group["weight_decay"], round(group.get("lr_scale", 1.0), 12))
        for group in groups
        for p in group["params"]
    }


def by_name(model: nn.Module, groups: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    found = scales(groups)
    return {name: found[id(p)] for name, p in model.named_parameters()}


def drops(model: nn.Module) -> dict[str, float]:
    return {n: m.drop_prob for n, m in model.named_modules() if isinstance(m, DropPath)}


@pytest.mark.parametrize("name", FAMILIES)
def test_groups_are_those_of_timm(name: str) -> None:
    model = build(of_timm(name))
    exempt = model.no_weight_decay() if hasattr(model, "no_weight_decay") else set()  # type: ignore[operator]
    plain = timm.optim.param_groups_weight_decay(model, 0.05, no_weight_decay_list=exempt)
    assert scales(parameter_groups(model, 0.05)) == scales(plain)
    layered = timm.optim.param_groups_layer_decay(model, 0.05, exempt, layer_decay=0.7)
    assert scales(parameter_groups(model, 0.05, 0.7)) == scales(layered)
    assert len({scale for _, scale in scales(layered).values()}) > 3


def test_frozen_parameters_are_in_no_group_and_the_order_is_from_the_stem_to_the_head() -> None:
    model = build(of_timm("test_vit"))
    frozen = model.get_parameter("blocks.0.attn.qkv.weight").requires_grad_(False)
    groups = parameter_groups(model, 0.05, 0.5)
    assert id(frozen) not in scales(groups)
    decayed = [g["lr_scale"] for g in groups if g["weight_decay"]]
    assert decayed == sorted(decayed)
    assert decayed[-1] == 1.0
    assert [g["weight_decay"] for g in groups] == sorted(
        (g["weight_decay"] for g in groups), reverse=True
    )


def test_a_tower_of_open_clip_is_numbered_by_its_blocks() -> None:
    model = build(tower("vit"))
    found = by_name(model, parameter_groups(model, 0.05, 0.5))
    assert found["head.weight"] == (0.05, 1.0)
    assert found["head.bias"] == (0.0, 1.0)
    assert found["visual.proj"] == (0.05, 0.5)  # with the last block, as timm has it
    assert found["visual.transformer.resblocks.1.attn.in_proj_weight"] == (0.05, 0.5)
    assert found["visual.transformer.resblocks.0.ln_1.weight"] == (0.0, 0.25)
    assert found["visual.conv1.weight"] == (0.05, 0.125)
    assert found["visual.positional_embedding"] == (0.0, 0.125)
    assert found["visual.class_embedding"] == (0.0, 0.125)


def test_a_resnet_tower_is_numbered_by_its_blocks() -> None:
    model = build(tower("resnet"))
    found = by_name(model, parameter_groups(model, 0.05, 0.5))
    assert found["visual.conv3.weight"][1] == 0.5**5
    assert found["visual.layer1.0.conv1.weight"][1] == 0.5**4
    assert found["visual.layer4.0.conv1.weight"][1] == 0.5
    assert found["visual.attnpool.c_proj.weight"][1] == 0.5


def test_a_tower_of_timm_s_is_numbered_as_by_timm() -> None:
    model = build(tower("timm"))
    assert isinstance(model, ClipClassifier)
    trunk: Any = model.visual.get_submodule("trunk")
    alone = timm.optim.param_groups_layer_decay(trunk, 0.05, layer_decay=0.5)
    theirs, ours = scales(alone), scales(parameter_groups(model, 0.05, 0.5))
    # One layer more is above: the head.
    assert all(ours[id(p)][1] == theirs[id(p)][1] * 0.5 for p in trunk.parameters())
    assert ours[id(model.visual.get_parameter("head.proj.weight"))] == (0.05, 0.5)
    assert ours[id(model.head.weight)] == (0.05, 1.0)


def test_a_model_that_does_not_say_its_layers_takes_no_layer_decay() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    assert len(parameter_groups(model, 0.1)) == 2
    with pytest.raises(ModelError, match="Sequential does not say how deep its layers are; leave"):
        parameter_groups(model, 0.1, 0.5)


@pytest.mark.parametrize("name", FAMILIES)
def test_drop_path_is_as_if_the_model_was_built_with_it(name: str) -> None:
    made = of_timm(name)
    model = build(made)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    seed = torch.get_rng_state()
    set_drop_path(model, made, 0.3)
    assert torch.equal(torch.get_rng_state(), seed)
    theirs = drops(timm.create_model(name, num_classes=2, drop_path_rate=0.3))
    assert drops(model) == theirs
    assert max(theirs.values()) > 0.1
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    set_drop_path(model, made, 0.0)
    assert not drops(model)


def test_drop_path_acts_in_training_only() -> None:
    made = of_timm("test_vit")
    model, images = build(made), torch.randn(2, 3, 160, 160)
    set_drop_path(model, made, 0.9)
    with torch.no_grad():
        assert torch.equal(model(images), model(images))
        model.train()
        assert not torch.equal(model(images), model(images))


def test_drop_path_reaches_a_tower_of_timm_s_and_no_other() -> None:
    model = build(tower("timm"))
    set_drop_path(model, tower("timm"), 0.2)
    assert max(drops(model).values()) > 0.1
    with pytest.raises(ModelError, match=r"tiny has no drop path: of open_clip's image towers"):
        set_drop_path(build(tower("vit")), tower("vit"), 0.2)
    plain = Architecture("timm", "vgg11", ("a",), 32, (0.5,) * 3, (0.5,) * 3)
    with pytest.raises(ModelError, match=r"vgg11 has no drop path; set it to 0"):
        set_drop_path(nn.Identity(), plain, 0.2)


@pytest.mark.parametrize("made", [of_timm("test_vit"), tower("vit"), tower("timm")])
def test_checkpointing_computes_blocks_again_and_gives_the_same_gradients(
    made: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = build(made)
    if isinstance(model, ClipClassifier):
        nn.init.normal_(model.head.weight)
    again = copy.deepcopy(model)
    checkpoint_gradients(again)
    images = torch.randn(2, 3, made.image_size, made.image_size)
    runs = 0

    def count(*_: object) -> None:
        nonlocal runs
        runs += 1

    kinds = ("Block", "ResidualAttentionBlock", "InvertedResidual", "EdgeResidual")
    for module in again.modules():
        if type(module).__name__ in kinds:
            module.register_forward_pre_hook(count)
    for each in (model, again):
        each.train()
        each(images).square().sum().backward()
    blocks = sum(type(module).__name__ in kinds for module in again.modules())
    assert runs > blocks
    for (name, one), other in zip(model.named_parameters(), again.parameters(), strict=True):
        assert one.grad is not None, name
        torch.testing.assert_close(one.grad, other.grad)
    again.set_grad_checkpointing(False)  # type: ignore[operator]
    runs = 0
    again(images).sum().backward()
    assert runs == blocks


def test_a_model_that_cannot_checkpoint_says_so() -> None:
    with torch.device("meta"):
        large = timm.create_model("vgg11", num_classes=2)
    with pytest.raises(ModelError, match=r"VGG has no gradient checkpointing .* turn it off, or"):
        checkpoint_gradients(large)
    with pytest.raises(ModelError, match=r"open_clip's ResNet towers have no gradient checkp"):
        checkpoint_gradients(build(tower("resnet")))
