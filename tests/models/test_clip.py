"""CLIP's image tower: with a head from prompts it answers as open_clip's own classification."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from soup.models import ModelError, build, clip, clip_base, load_weights
from soup.params import Base
from tests.worlds import CLIP, COLOURS, tiny_clip

open_clip = pytest.importorskip("open_clip")
CLASSES = tuple(COLOURS)
TEMPLATES = ["a photo of a {}.", "{} all over, {} indeed"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return tiny_clip(tmp_path_factory.mktemp("clip"))


def base(tiny: tuple[str, str], **changes: Any) -> Base:
    plain = {"library": "open_clip", "model": tiny[0], "weights": tiny[1], "templates": TEMPLATES}
    return Base(**{**plain, "head": "zeroshot", **changes})


def test_the_zero_shot_head_answers_as_open_clip_does(tiny: tuple[str, str]) -> None:
    names = ["deep blue", "grass green", "fire red"]
    made, ours, _ = clip_base.make_base(base(tiny, class_names=names), CLASSES)
    theirs = open_clip.create_model(Path(tiny[0]).stem, pretrained=tiny[1]).eval()
    tokenizer = open_clip.get_tokenizer(Path(tiny[0]).stem, context_length=16)
    images = torch.randn(5, 3, 16, 16)
    with torch.no_grad():
        text = []
        for name in names:
            prompts = tokenizer([t.replace("{}", name) for t in TEMPLATES])
            each = functional.normalize(theirs.encode_text(prompts), dim=-1)
            text.append(functional.normalize(each.mean(dim=0), dim=-1))
        pictures = functional.normalize(theirs.encode_image(images), dim=-1)
        expected = theirs.logit_scale.exp() * pictures @ torch.stack(text).T
        torch.testing.assert_close(ours(images), expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 1e-3
    assert not ours.head.bias.any()
    assert made.classes == CLASSES
    assert not ours.training


def test_without_class_names_the_folders_names_are_the_prompts(tiny: tuple[str, str]) -> None:
    _, plain, _ = clip_base.make_base(base(tiny), CLASSES)
    _, named, _ = clip_base.make_base(base(tiny, class_names=list(CLASSES)), CLASSES)
    _, other, _ = clip_base.make_base(base(tiny, class_names=["x", "y", "z"]), CLASSES)
    assert torch.equal(clip.head(plain).weight, clip.head(named).weight)
    assert not torch.equal(clip.head(plain).weight, clip.head(other).weight)


def test_class_names_must_be_as_many_as_the_folders(tiny: tuple[str, str]) -> None:
    with pytest.raises(ModelError, match="class_names has 2 names, but there are 3 class folders"):
        clip_base.make_base(base(tiny, class_names=["a", "b"]), CLASSES)


def test_the_head_on_the_features_is_the_model(tiny: tuple[str, str]) -> None:
    _, model, _ = clip_base.make_base(base(tiny), CLASSES)
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        features = clip.features(model, images)
        torch.testing.assert_close(features.norm(dim=1), torch.ones(4))
        assert torch.equal(clip.head(model)(features), model(images))


def test_a_new_head_is_zeros_on_the_pretrained_tower(tiny: tuple[str, str]) -> None:
    made, model, _ = clip_base.make_base(base(tiny, head="new"), CLASSES)
    assert not clip.head(model).weight.any()
    theirs = open_clip.create_model(Path(tiny[0]).stem, pretrained=tiny[1]).visual.state_dict()
    own = {n.removeprefix("visual."): t for n, t in model.state_dict().items() if n[:4] != "head"}
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[n], theirs[n]) for n in own)
    assert (made.image_size, made.interpolation) == (CLIP["vision_cfg"]["image_size"], "bicubic")  # type: ignore[index]
    assert made.mean == open_clip.OPENAI_DATASET_MEAN


def test_a_built_model_takes_the_weights_and_has_no_text_tower(tiny: tuple[str, str]) -> None:
    made, model, _ = clip_base.make_base(base(tiny), CLASSES)
    again = build(made, model.state_dict())
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(again(images), model(images))
    assert {name.split(".")[0] for name in again.state_dict()} == {"visual", "head"}
    with pytest.raises(ModelError, match=r"head.bias is \(3,\), the model wants \(4,\)"):
        load_weights(
            build(made.__class__(**{**vars(made), "classes": (*CLASSES, "x")})),
            model.state_dict(),
            "tiny",
        )


def test_an_unknown_model_file_or_tag_is_named(tiny: tuple[str, str]) -> None:
    with pytest.raises(ModelError, match=r"open_clip does not know 'ViT-B-33'; near: .*ViT-B-32"):
        clip_base.make_base(base(tiny, model="ViT-B-33"), CLASSES)
    with pytest.raises(ModelError, match=r"base.model: gone.json is not a file"):
        clip_base.make_base(base(tiny, model="gone.json"), CLASSES)
    with pytest.raises(ModelError, match=r"'no-such-tag' is neither a file nor a .*tags: none"):
        clip_base.make_base(base(tiny, weights="no-such-tag"), CLASSES)
