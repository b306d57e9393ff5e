"""The depth of a tensor is told by the name of its block, in the networks that people fine-tune."""

import pytest
import timm

from soup.recipes.depth import depths


@pytest.mark.parametrize(
    ("model", "first", "middle", "last"),
    [
        (
            "tf_efficientnet_lite0",
            ["conv_stem.", "bn1.", "blocks.0.0."],
            (7, 15),
            ["bn2."],
        ),
        (
            "vit_tiny_patch16_224",
            ["cls_token", "pos_embed", "blocks.0."],
            (5, 11),
            ["norm.", "head"],
        ),
        ("resnet18", ["conv1.", "bn1.", "layer1.0."], (3, 7), ["layer4.1.", "fc."]),
        ("convnext_atto", ["stem.0.", "stem.1.", "stages.0.blocks.0."], (3, 14), ["head."]),
    ],
)
def test_a_stem_is_first_a_head_is_last_and_blocks_are_evenly_between(
    model: str, first: list[str], middle: tuple[int, int], last: list[str]
) -> None:
    names = sorted(timm.create_model(model).state_dict())
    found = depths(names)
    for start in first:
        assert {v for n, v in found.items() if n.startswith(start)} == {0.0}, start
    for start in last:
        assert {v for n, v in found.items() if n.startswith(start)} == {1.0}, start
    rank, count = middle
    values = sorted(set(found.values()))
    assert len(values) == count + 1
    assert values[rank] == pytest.approx(rank / count)


def test_ten_comes_after_two_and_each_tower_has_its_own_blocks() -> None:
    visual = ["visual.blocks.10.w", "visual.blocks.2.w", "visual.blocks.0.w"]
    text = ["text.blocks.0.w", "text.blocks.1.w", "token_embedding.weight", "logit_scale"]
    found = depths([*visual, *text])
    assert [*found.values()] == [1.0, 0.5, 0.0, 0.0, 1.0, 0.0, 1.0]
