"""Image towers alone are those that open_clip itself puts into its models."""

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from soup.models import ModelError
from soup.models.clip_towers import build_tower, registered_name, tower_config
from tests.worlds import CLIP

TEXT = {**CLIP["text_cfg"], "layers": 1}  # type: ignore[dict-item]
VISION: dict[str, dict[str, Any]] = {
    "vit": {"image_size": 16, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "resnet": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8},
    "timm": {"timm_model_name": "test_efficientnet", "image_size": 32},
    "coca": {
        **{"image_size": 16, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
        **{"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
    },
}


def config(folder: Path, kind: str, **more: Any) -> str:
    path = folder / f"tower-{kind}.json"
    whole = {"embed_dim": 16, "vision_cfg": VISION[kind], "text_cfg": TEXT, **more}
    path.write_text(json.dumps(whole))
    return str(path)


@pytest.mark.parametrize("kind", [*VISION])
@pytest.mark.parametrize("quick", [False, True])
def test_a_tower_alone_computes_what_open_clip_s_does(
    tmp_path: Path, kind: str, quick: bool
) -> None:
    name = config(tmp_path, kind, quick_gelu=quick)
    whole = open_clip.create_model(registered_name(name), pretrained_text=False).eval()
    carried = json.loads(json.dumps(tower_config(name, {})))
    tower = build_tower(carried).eval()
    tower.load_state_dict(whole.visual.state_dict())
    images = torch.randn(2, 3, *[VISION[kind]["image_size"]] * 2)
    with torch.no_grad():
        theirs = whole.visual(images)
        expected = theirs[0] if isinstance(theirs, tuple) else theirs  # CoCa: and its tokens
        torch.testing.assert_close(tower(images), expected)


def test_arguments_that_change_the_tower_are_in_its_config(tmp_path: Path) -> None:
    kwargs = {"force_image_size": 32, "force_quick_gelu": True, "force_patch_dropout": 0.5}
    name = config(tmp_path, "vit")
    found = tower_config(name, kwargs)
    whole = open_clip.create_model(registered_name(name), **kwargs)
    own = {n: t.shape for n, t in whole.visual.state_dict().items()}
    assert {n: t.shape for n, t in build_tower(found).state_dict().items()} == own
    assert found["quick_gelu"] is True
    assert found["vision_cfg"]["patch_dropout"] == 0.5
    assert tower_config(name, {})["vision_cfg"] == {**VISION["vit"], "output_tokens": False}


def test_a_tower_of_timm_s_takes_another_size(tmp_path: Path) -> None:
    path = tmp_path / "sized.json"
    vision = {"timm_model_name": "test_vit", "image_size": 160}
    path.write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": TEXT}))
    found = build_tower(tower_config(str(path), {"force_image_size": 96}))
    assert found(torch.zeros(1, 3, 96, 96)).shape == (1, 16)


def test_a_file_that_is_no_config_says_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"model_cfg": CLIP, "embed_dim": 3}))
    with pytest.raises(
        ModelError, match=r"c.json is no model config .* lacks vision_cfg, text_cfg"
    ):
        registered_name(str(path))
    path.write_text("{")
    with pytest.raises(ModelError, match=r"c.json cannot be read: "):
        registered_name(str(path))


def test_a_configuration_that_cannot_be_built_is_shown(tmp_path: Path) -> None:
    broken = {**tower_config(config(tmp_path, "vit"), {}), "vision_cfg": {"layerz": 2}}
    with pytest.raises(ModelError, match=r"cannot build an image tower of .*layerz.*TypeError"):
        build_tower(broken)
