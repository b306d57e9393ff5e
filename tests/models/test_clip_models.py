"""CLIP's image tower with a linear head: one model like any, and its text tower never built."""

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from soup.config.params import Base
from soup.models import Architecture, ModelError, build, clip_init, clip_models, load_weights
from soup.models.by_name import resolve_architecture
from soup.weights.checkpoint import Checkpoint, save
from tests.worlds import COLOURS, tiny_clip

CLASSES = tuple(COLOURS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Architecture, Any]:
    config, weights = tiny_clip(tmp_path_factory.mktemp("clip"))
    base = Base(library="open_clip", model=config, weights=weights, head="zeroshot")
    architecture, model, _ = clip_init.make_base(base, CLASSES)
    return architecture, model


def test_the_head_on_the_features_is_the_model(made: tuple[Architecture, Any]) -> None:
    _, model = made
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        features = clip_models.features(model, images)
        torch.testing.assert_close(features.norm(dim=1), torch.ones(4))
        assert torch.equal(clip_models.head(model)(features), model(images))


def test_a_built_model_takes_the_weights_and_has_no_text_tower(
    made: tuple[Architecture, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a text tower was built")

    monkeypatch.setattr("open_clip.model._build_text_tower", never)
    architecture, model = made
    again = build(architecture, model.state_dict())
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(again(images), model(images))
    assert {name.split(".")[0] for name in again.state_dict()} == {"visual", "head"}
    wider = Architecture(**{**vars(architecture), "classes": (*CLASSES, "x")})
    with pytest.raises(ModelError, match=r"head.bias is \(3,\), the model wants \(4,\)"):
        load_weights(build(wider), model.state_dict(), "tiny")


def test_a_description_from_before_configs_were_carried_is_built_by_its_name(
    made: tuple[Architecture, Any],
) -> None:
    architecture, model = made
    text = json.loads(architecture.text())
    del text["config"], text["crop_mode"]
    text["model"] = Path(text["model"]).stem  # as open_clip knows it since its file was given
    again = build(Architecture.parse(json.dumps(text), "old"), model.state_dict())
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(again(images), model(images))


def test_a_model_by_name_is_described_without_making_its_text_tower(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(open_clip, "create_model", None)
    made = clip_models.describe(Base(library="open_clip", model="ViT-B-32-quickgelu"), CLASSES)
    assert (made.image_size, made.interpolation, made.crop_mode) == (224, "bicubic", "center")
    assert made.mean == open_clip.OPENAI_DATASET_MEAN
    assert made.config["quick_gelu"] is True
    assert made.config["embed_dim"] == 512


def test_how_images_are_squeezed_is_the_weights_own(tmp_path: Path) -> None:
    """SigLIP's want both sides resized; open_clip says so with the weights, not the name."""
    config, weights = tiny_clip(tmp_path)
    whole = open_clip.create_model(
        Path(config).stem,
        pretrained=weights,
        force_preprocess_cfg={"resize_mode": "squash", "mean": (0.5, 0.5, 0.5)},
    )
    base = Base(library="open_clip", model=config, weights=weights)
    made = clip_models.describe(base, CLASSES, whole)
    assert (made.crop_mode, made.mean) == ("squash", (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("name", "mean", "std", "how"),
    [
        ("ViT-B-16-SigLIP", 0.5, 0.5, ("bicubic", "squash", 224)),
        ("MobileCLIP-S1", 0.0, 1.0, ("bilinear", "center", 256)),
    ],
)
def test_a_name_without_a_tag_has_the_input_of_all_its_tags(
    tmp_path: Path, name: str, mean: float, std: float, how: tuple[str, str, int]
) -> None:
    save({"head.weight": torch.zeros(3, 4)}, tmp_path / "w.safetensors")
    weights = Checkpoint(tmp_path / "w.safetensors")
    made = resolve_architecture(f"open_clip:{name}", weights, CLASSES).architecture
    assert (made.mean, made.std) == ((mean,) * 3, (std,) * 3)
    assert (made.interpolation, made.crop_mode, made.image_size) == how


def test_where_tags_differ_each_has_its_own_input_and_none_has_open_clip_s_usual(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tags = ["laion2b_s32b_b82k", "openai"]  # the odd one first
    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda _: tags)

    def mean(weights: str) -> tuple[float, ...]:
        base = Base(library="open_clip", model="ViT-L-14", weights=weights)
        return clip_models.describe(base, CLASSES).mean

    assert mean("laion2b_s32b_b82k") == (0.5, 0.5, 0.5)
    assert mean("openai") == mean("pretrained") == open_clip.OPENAI_DATASET_MEAN


def test_a_folder_that_open_clip_opens_tells_the_input(tmp_path: Path) -> None:
    config, weights = tiny_clip(tmp_path)
    preprocessing = {"mean": [0.1, 0.2, 0.3], "resize_mode": "longest"}
    values = {"model_cfg": json.loads(Path(config).read_text()), "preprocess_cfg": preprocessing}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(values))
    model = f"open_clip:local-dir:{tmp_path}"
    made = resolve_architecture(model, Checkpoint(Path(weights)), CLASSES).architecture
    assert (made.mean, made.crop_mode, made.image_size) == ((0.1, 0.2, 0.3), "border", 16)


def test_a_downloaded_file_has_the_input_of_its_name_which_open_clip_does_not_ask(
    tmp_path: Path,
) -> None:
    config, weights = tiny_clip(tmp_path)
    whole = open_clip.create_model(Path(config).stem, pretrained=weights)
    base = Base(library="open_clip", model="ViT-B-16-SigLIP", weights=weights)
    made = clip_models.describe(base, CLASSES, whole)
    assert (made.crop_mode, made.mean) == ("squash", (0.5, 0.5, 0.5))
