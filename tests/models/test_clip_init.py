"""The base from open_clip: with a head from prompts it answers as open_clip's own does."""

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch.nn import functional

from soup.config.params import Base
from soup.models import ModelError, build, clip_init, clip_models, open_model
from soup.weights.checkpoint import save
from tests.worlds import CLIP, COLOURS, put, tiny_clip

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
    made, ours, _ = clip_init.make_base(base(tiny, class_names=names), CLASSES)
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


def test_a_new_head_is_zeros_on_the_pretrained_tower(tiny: tuple[str, str]) -> None:
    made, model, zero_shot = clip_init.make_base(base(tiny, head="new"), CLASSES)
    assert not clip_models.head(model).weight.any()
    with_words = clip_init.make_base(base(tiny), CLASSES)[1]
    assert torch.equal(zero_shot["head.weight"], clip_models.head(with_words).weight)
    theirs = open_clip.create_model(Path(tiny[0]).stem, pretrained=tiny[1]).visual.state_dict()
    own = {n.removeprefix("visual."): t for n, t in model.state_dict().items() if n[:4] != "head"}
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[n], theirs[n]) for n in own)
    assert (made.image_size, made.interpolation) == (CLIP["vision_cfg"]["image_size"], "bicubic")  # type: ignore[index]
    assert made.mean == open_clip.OPENAI_DATASET_MEAN


def test_a_classifier_made_before_is_taken_as_it_is(tiny: tuple[str, str], tmp_path: Path) -> None:
    made, model, _ = clip_init.make_base(base(tiny), CLASSES)
    put(tmp_path, (made, model))
    file = str(tmp_path / "model.safetensors")
    again, kept, zero_shot = clip_init.make_base(base(tiny, head="keep", weights=file), CLASSES)
    assert again == made
    assert all(torch.equal(t, kept.state_dict()[n]) for n, t in model.state_dict().items())
    assert zero_shot == {}
    with pytest.raises(ModelError, match=r"no.pt is not a file, which head: keep needs"):
        clip_init.make_base(base(tiny, head="keep", weights="no.pt"), CLASSES)


def test_a_kept_head_has_the_classes_and_the_input_that_its_file_tells(
    tiny: tuple[str, str], tmp_path: Path
) -> None:
    made, model, _ = clip_init.make_base(base(tiny, image_size=32), CLASSES)
    told: dict[str, Any] = {
        "classes": CLASSES[::-1],
        "mean": (0.1, 0.2, 0.3),
        "std": (0.7, 0.8, 0.9),
        "interpolation": "bilinear",
        "crop_pct": 0.9,
        "crop_mode": "squash",
    }
    put(tmp_path, (replace(made, **told), model))
    kept = base(tiny, head="keep", weights=str(tmp_path / "model.safetensors"))
    again, opened, _ = clip_init.make_base(kept, CLASSES)
    assert again == replace(made, **{**told, "classes": CLASSES})
    rows = clip_models.head(model).weight.flip(0)
    assert torch.equal(clip_models.head(opened).weight, rows)
    assert opened(torch.randn(2, 3, 32, 32)).shape == (2, 3)
    with pytest.raises(ModelError, match=r"knows the classes red, green, blue, the data has a, b"):
        clip_init.make_base(kept, ("a", "b", "c"))


def test_a_model_of_a_config_file_opens_where_that_file_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, weights = tiny_clip(tmp_path / "clip")
    made, model, _ = clip_init.make_base(base((config, weights)), CLASSES)
    put(tmp_path, (made, model))
    shutil.rmtree(tmp_path / "clip")
    monkeypatch.delitem(open_clip.factory._MODEL_CONFIGS, Path(config).stem)
    again, opened = open_model(tmp_path)
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(opened(images), model(images))
    assert again == made


def test_another_size_of_images_resizes_the_tower_s_positions(tiny: tuple[str, str]) -> None:
    made, model, _ = clip_init.make_base(base(tiny, image_size=32), CLASSES)
    assert made.image_size == 32
    assert model.get_parameter("visual.positional_embedding").shape == (17, 32)
    again = build(made, model.state_dict())
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(images), model(images))
    own = clip_init.make_base(base(tiny, image_size=16), CLASSES)[0]
    assert own == clip_init.make_base(base(tiny), CLASSES)[0]


def test_an_image_tower_of_timm_s_beside_a_text_tower_is_one_like_any(tmp_path: Path) -> None:
    config, weights = align(tmp_path)
    made, model, zero_shot = clip_init.make_base(base((config, weights)), CLASSES)
    theirs = open_clip.create_model("tiny-align", pretrained=weights).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = functional.normalize(theirs.encode_image(images), dim=-1)
        torch.testing.assert_close(clip_models.features(model, images), expected)
        torch.testing.assert_close(build(made, model.state_dict())(images), model(images))
    assert zero_shot["head.weight"].std() > 0


def test_a_text_tower_of_hugging_face_asks_for_its_package(tmp_path: Path) -> None:
    if importlib.util.find_spec("transformers"):
        pytest.skip("transformers is installed, so nothing is missing")
    config, weights = align(tmp_path)
    text = {"hf_model_name": "bert-base-uncased", "hf_tokenizer_name": "bert-base-uncased"}
    changed = {**json.loads(Path(config).read_text()), "text_cfg": text}
    Path(config).write_text(json.dumps(changed))
    with pytest.raises(ModelError, match=r"hf_model_name: bert.* transformers, which is not inst"):
        clip_init.make_base(base((config, weights)), CLASSES)


def test_an_unknown_model_file_or_tag_is_named(tiny: tuple[str, str]) -> None:
    with pytest.raises(ModelError, match=r"open_clip does not know 'ViT-B-33'; near: .*ViT-B-32"):
        clip_init.make_base(base(tiny, model="ViT-B-33"), CLASSES)
    with pytest.raises(ModelError, match=r"base.model: gone.json is not a file"):
        clip_init.make_base(base(tiny, model="gone.json"), CLASSES)
    with pytest.raises(ModelError, match=r"'no-such-tag' is neither a file nor a .*tags: none"):
        clip_init.make_base(base(tiny, weights="no-such-tag"), CLASSES)
    with pytest.raises(
        ModelError, match=r"'opena1' is .* of ViT-B-32; its tags: openai, laion400m"
    ):
        clip_init.make_base(base(tiny, model="ViT-B-32", weights="opena1"), CLASSES)


def test_weights_of_another_architecture_are_told_by_what_they_look_like(
    tiny: tuple[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "resnet.safetensors"
    save(timm.create_model("test_resnet").state_dict(), file)
    with pytest.raises(ModelError) as caught:
        clip_init.make_base(base(tiny, weights=str(file)), CLASSES)
    text = str(caught.value)
    assert text.startswith(f"base.weights: {file}: the weights do not fit {tiny[0]}:\n  missing: ")
    assert "they look like a ResNet of b" in text
    assert "the model is a CLIP with a ViT (open_clip) (width 32, patch 8, blocks 1)" in text


def test_a_tag_that_cannot_be_fetched_says_what_to_get_and_where_to_put_it(
    tiny: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("open_clip.factory.download_pretrained", offline)
    with pytest.raises(ModelError) as caught:
        clip_init.make_base(base(tiny, model="ViT-B-32-quickgelu", weights="openai"), CLASSES)
    text = str(caught.value)
    assert text.startswith("cannot fetch the weights 'openai' of ViT-B-32-quickgelu (")
    assert "no route to host" in text
    assert "hf download timm/vit_base_patch32_clip_224.openai" in text
    assert "base.weights: FILE" in text


def align(folder: Path) -> tuple[str, str]:
    """A tiny CLIP whose image tower is an EfficientNet of timm's: its config and checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny-align.json"
    vision = {"timm_model_name": "test_efficientnet", "timm_proj": "linear", "image_size": 32}
    path.write_text(json.dumps({**CLIP, "vision_cfg": vision}))
    open_clip.add_model_config(path)
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-align")
    save(model.state_dict(), folder / "align.safetensors")
    return str(path), str(folder / "align.safetensors")
