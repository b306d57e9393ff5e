"""What a description of a model may hold, and that nothing else reaches a library."""

import inspect
import json
import socket
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from torch import nn

from soup import limits
from soup.models import Architecture, ModelError, build
from soup.models.arguments import CLIP_VISION, OF_PRETRAINED, TIMM, unfit, unfit_config
from soup.models.by_name import resolve_architecture
from soup.models.conversion import convert
from soup.models.stored_description import NOTE
from soup.models.timm_models import create
from soup.weights.checkpoint import Checkpoint, save
from tests.worlds import KWARGS, MODEL, architecture, put, tiny, tiny_clip

CLIP: dict[str, Any] = {"library": "open_clip", "kwargs": {}}
# What timm's models take, and no description may hold.
REFUSED = {
    "where tensors are": {"device", "dtype"},
    "Python objects, which JSON cannot name": {
        "cfg", "cfgs", "block", "block_fn", "block_cls", "block_layers", "block_layers_token",
        "attn_block", "attn_block_token_only", "mlp_block", "mlp_block_token_only", "head_fn",
        "round_chs_fn", "block_layer", "rnn_layer", "basic", "union", "embed_layer", "patch_layer",
        "se_from_exp", "stem_backbone", "hybrid_backbone",
    },
    "another kind of model, or how it computes": {
        "memory_efficient", "use_checkpoint", "out_indices", "feature_location", "encoder_pool",
        "return_interm_layers", "fork_feat",
    },
}  # fmt: skip


def test_each_argument_of_timms_models_is_allowed_or_refused_for_a_reason() -> None:
    taken: dict[str, str] = {}
    for model in timm.list_models():
        module = sys.modules[timm.model_entrypoint(model).__module__]
        for name, kind in vars(module).items():
            if inspect.isclass(kind) and issubclass(kind, nn.Module):
                signature = {*inspect.signature(kind.__init__).parameters} - {"self", "kwargs"}
                here = kind.__module__ == module.__name__ and "num_classes" in signature
                if here and signature & {"in_chans", "cfg"}:
                    taken |= dict.fromkeys(signature, name)
    refused = set().union(*REFUSED.values())
    assert not refused & TIMM
    assert {name: kind for name, kind in taken.items() if name not in TIMM | refused} == {}
    fetching = {*inspect.signature(timm.create_model).parameters} - {"kwargs", "model_name"}
    assert {"pretrained", "checkpoint_path", "cache_dir", "pretrained_cfg"} <= fetching
    assert not TIMM & (fetching | OF_PRETRAINED)


def test_each_field_of_open_clips_image_towers_is_allowed() -> None:
    assert {*inspect.signature(open_clip.CLIPVisionCfg).parameters} == CLIP_VISION


def test_every_image_tower_of_open_clip_can_be_described() -> None:
    from soup.models.clip_towers import tower_config

    for name in open_clip.list_models():
        assert unfit_config(tower_config(name, {})) == "", name


@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        ({"pretrained": True}, "kwargs.pretrained is no argument that shapes"),
        ({"checkpoint_path": "/etc/hostname"}, "kwargs.checkpoint_path is no argument"),
        ({"pretrained_cfg_overlay": {"url": "http://127.0.0.1:9/x"}}, "pretrained_cfg_overlay is"),
        ({"device": "cuda"}, "kwargs.device is no argument"),
        ({"act_layer": "hf-hub:someone/thing"}, "act_layer is 'hf-hub:someone/thing', which is no"),
        ({"block_args": {"cache_dir": "x"}}, "kwargs.block_args.cache_dir is no argument"),
        ({"embed_dim": 10**9}, "embed_dim has a number beyond 1048576"),
        ({"depth": 1001}, "depth has a number beyond 1000"),
        ({"depths": [3, 1001]}, "depths has a number beyond 1000"),
        ({"img_size": [224, 5000]}, "img_size has a number beyond 4096"),
        ({"channels": [[[[[[1]]]]]]}, "lists in lists in lists"),
        ({"channels": [1] * 1001}, "more than 1000 values"),
        ({"x" * 999: 1}, "kwargs.x{50} is no"),
    ],
)
def test_an_argument_that_does_not_shape_a_network_is_refused_wherever_it_stands(
    tmp_path: Path, kwargs: dict[str, Any], reason: str
) -> None:
    put(tmp_path, tiny())
    described = json.loads((tmp_path / "model.json").read_text()) | {"kwargs": kwargs}
    text = json.dumps(described)
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(ModelError, match=rf"model.json is refused: .*{reason}.*arguments.py lists"):
        Architecture.load(tmp_path / "model.json")
    noted = tmp_path / "noted.safetensors"
    save(tiny()[1].state_dict(), noted, {NOTE: text})
    with pytest.raises(ModelError, match=f"noted.safetensors is refused: .*{reason}"):
        resolve_architecture(None, Checkpoint(noted), ())
    (tmp_path / "model.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps({"architecture": MODEL, "model_args": kwargs}))
    with pytest.raises(ModelError, match=f"config.json is refused: .*{reason}"):
        resolve_architecture(None, Checkpoint(tmp_path / "model.safetensors"), ())
    args = Namespace(model=MODEL, model_kwargs=kwargs)
    torch.save({"state_dict": tiny()[1].state_dict(), "args": args}, tmp_path / "last.pt")
    with pytest.raises(ModelError, match=f"train.py in it is refused: .*{reason}"):
        convert(tmp_path / "last.pt", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()
    with pytest.raises(ModelError, match=reason):
        create(MODEL, kwargs, 3)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": "hf-hub:someone/thing"}, "only names in timm are looked up"),
        ({"model": "local-dir:/srv/models"}, "only names in timm are looked up"),
        ({**CLIP, "model": "hf-hub:someone/thing"}, "only names in open_clip"),
        ({**CLIP, "model": "../configs/x.json"}, "only names in open_clip"),
        ({"config": {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {}}}, "config.text_cfg is no"),
        (
            {"config": {"embed_dim": 8, "vision_cfg": {"timm_model_name": "hf-hub:a/b"}}},
            "timm_model_name is 'hf-hub:a/b'",
        ),
        (
            {"config": {"embed_dim": 8, "vision_cfg": {"timm_model_pretrained": True}}},
            "timm_model_pretrained asks for pretrained weights",
        ),
        ({"config": {"embed_dim": 8}}, "config lacks vision_cfg"),
        ({"image_size": 4097}, "image_size 4097 is not within 1 to 4096 pixels"),
        ({"image_size": 0}, "image_size 0 is not"),
        ({"crop_pct": 1e-6}, "crop_pct 1e-06 is not within 0.25 to 4"),
        ({"std": [0, 1, 1]}, "std above 0"),
        ({"interpolation": "x"}, "unknown interpolation 'x'; known: bicubic"),
        ({"crop_mode": "x"}, "unknown crop_mode 'x'; known: center"),
        ({"classes": ["a", "b" * 1001]}, "a name longer than 1000"),
    ],
)
def test_addresses_paths_and_numbers_out_of_range_are_refused(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    put(tmp_path, tiny())
    described = json.loads((tmp_path / "model.json").read_text()) | change
    (tmp_path / "model.json").write_text(json.dumps(described))
    with pytest.raises(ModelError, match=f"model.json is refused: .*{reason}"):
        Architecture.load(tmp_path / "model.json")


def test_more_classes_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CLASSES", 2)
    with pytest.raises(ModelError, match="more than 2 classes"):
        Architecture.parse(architecture().text(), "it")


def test_nothing_is_written_that_could_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="image_size 5000"):
        replace(architecture(), image_size=5000).save(tmp_path / "model.json")
    assert not (tmp_path / "model.json").exists()


def test_a_described_tower_under_a_users_address_is_built_without_fetching(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    from soup.config.params import Base
    from soup.models import clip_models

    config, _ = tiny_clip(tmp_path)
    made = clip_models.describe(Base(library="open_clip", model=config), ("a", "b"))
    monkeypatch.setattr(socket, "getaddrinfo", none)
    monkeypatch.setattr(socket.socket, "connect", none)
    named = replace(made, model="hf-hub:someone/thing")
    again = Architecture.parse(named.text(), "it")
    assert build(again)(torch.zeros(1, 3, 16, 16)).shape == (1, 2)
    text = json.loads(named.text())
    del text["mean"]  # the library would be asked for it
    weights = tmp_path / "w.safetensors"
    save(build(again).state_dict(), weights, {NOTE: json.dumps(text)})
    with pytest.raises(ModelError, match="names the model 'hf-hub:someone/thing' without saying"):
        resolve_architecture(None, Checkpoint(weights), ())


def test_the_users_arguments_of_pretrained_weights_are_not_stored() -> None:
    from soup.config.params import Base
    from soup.models import timm_models

    kwargs = {**KWARGS, "cache_dir": "/srv/cache", "pretrained_cfg_overlay": {"file": "x"}}
    base = Base(model=MODEL, kwargs=kwargs)
    assert timm_models.describe(base, ("a",), create(MODEL, KWARGS, 1)).kwargs == KWARGS
    assert unfit("timm", KWARGS) == ""


def test_numbers_that_json_does_not_have_are_refused_where_a_pickle_has_them() -> None:
    assert "drop_rate is nan" in unfit("timm", {"drop_rate": float("nan")})
    assert "beyond 1048576" in unfit("timm", {"embed_dim": 10**400})
    assert "is a set, not a number" in unfit("timm", {"embed_dim": {1}})
