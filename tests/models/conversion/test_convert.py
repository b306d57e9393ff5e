"""Every layout that people have comes out as its weights alone, bit for bit, or not at all."""

import argparse
import hashlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from soup.models.conversion import FormatError, convert
from soup.weights.checkpoint import Checkpoint
from tests.strategies import alike


def state(shift: float = 0) -> dict[str, Tensor]:
    """A network with BatchNorm: floats, and a counter."""
    torch.manual_seed(1)
    made = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).state_dict()
    return OrderedDict((n, t + shift if t.is_floating_point() else t) for n, t in made.items())


def training() -> dict[str, Any]:
    """What stands beside the weights in a training checkpoint, tensors among it."""
    moments = {"step": torch.tensor(7.0), "exp_avg": torch.ones(4, 3)}
    return {
        "epoch": 3,
        "optimizer": {"state": {"0.weight": moments, "0.bias": moments}, "param_groups": []},
        "lr_schedulers": [{"last_epoch": 3, "lrs": {"a": torch.ones(2)}}],
        "best": torch.tensor(0.5),
    }


def prefixed(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in weights.items()}


def put(tmp_path: Path, content: object, name: str = "source.pt", **options: Any) -> Path:
    torch.save(content, tmp_path / name, **options)
    return tmp_path / name


def assert_same(path: Path, expected: dict[str, Tensor]) -> None:
    written = load_file(path)
    assert written.keys() == expected.keys()
    for name, tensor in expected.items():
        assert written[name].dtype == tensor.dtype
        assert torch.equal(written[name], tensor), name


RAW, EMA = state(), state(shift=1)
SHARED = {"current_model_state": RAW, "state_dict": EMA, "averaging_state": {}}
LIGHTNING = {"pytorch-lightning_version": "2.5", "loops": {"x": {"y": torch.ones(3)}}, **training()}
NEMO = {"EMA": {"cur_step": 3, "ema_weights": list(EMA.values())}}
BEST = {"ModelCheckpoint": {"best_model_path": "a", "best_k_models": {"a": torch.tensor(1.0)}}}
# layout: what the file holds, what is said of it, the key taken, the prefixes stripped
LAYOUTS: dict[str, tuple[Any, str, str, tuple[str, ...]]] = {
    "plain": (RAW, "torch", "", ()),
    "parameters": ({n: nn.Parameter(t, False) for n, t in RAW.items()}, "torch", "", ()),
    "data parallel": (prefixed("module.", RAW), "torch", "", ("module.",)),
    "compiled": (prefixed("_orig_mod.module.", RAW), "torch", "", ("_orig_mod.", "module.")),
    "model": ({"model": RAW, **training()}, "torch", "model", ()),
    "nested": ({"model": {"state_dict": RAW}, "step": 3}, "torch", "model.state_dict", ()),
    "scores beside": ({"model": RAW, "a": torch.ones(2), "b": torch.ones(2)}, "torch", "model", ()),
    "lightning": (
        {**LIGHTNING, "state_dict": prefixed("model.", RAW), "callbacks": BEST},
        "Lightning",
        "state_dict",
        ("model.",),
    ),
    "lightning averaging": ({**LIGHTNING, **SHARED}, "Lightning", "current_model_state", ()),
    "timm": (
        {**training(), "arch": "x", "args": argparse.Namespace(lr=0.1), "state_dict": RAW},
        "timm",
        "state_dict",
        (),
    ),
    "open_clip": (
        {**training(), "name": "run", "state_dict": prefixed("module.", RAW)},
        "open_clip",
        "state_dict",
        ("module.",),
    ),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_comes_out_as_its_weights_alone(tmp_path: Path, layout: str, zipped: bool) -> None:
    content, said, key, stripped = LAYOUTS[layout]
    source = put(tmp_path, content, _use_new_zipfile_serialization=zipped)
    out = tmp_path / "out" / "w.safetensors"
    found = convert(source, out)
    assert_same(out, RAW)
    assert (found.layout, found.key, found.stripped) == (said, key, stripped)
    assert (found.path, found.size, found.averaged) == (out, out.stat().st_size, False)
    assert found.dtypes == {"float32": 8, "int64": 1}
    assert found.tensors == 9
    assert (found.dropped, found.renamed, found.made) == ((), {}, ())
    assert found.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    noted = {"source": "source.pt", "sha256": found.sha256, "layout": said, "key": key}
    assert Checkpoint(out).metadata == noted


AVERAGED = {
    "timm": ({"state_dict": RAW, "state_dict_ema": EMA}, "state_dict_ema"),
    "timm's older": ({"model": RAW, "model_ema": prefixed("module.", EMA)}, "model_ema"),
    "plain key": ({"model": RAW, "ema": EMA}, "ema"),
    "shadow": ({"model": RAW, "ema": {"decay": 0.9, "shadow": EMA}}, "ema.shadow"),
    "Lightning": ({**LIGHTNING, **SHARED}, "state_dict"),
    "NeMo": ({**LIGHTNING, "state_dict": RAW, "callbacks": NEMO}, "callbacks.EMA.ema_weights"),
    "torch": ({"net": RAW, "swa_model": {"n_averaged": torch.tensor(3), **EMA}}, "swa_model"),
}


@pytest.mark.parametrize("layout", AVERAGED)
def test_averaged_weights_are_taken_only_when_asked_for(tmp_path: Path, layout: str) -> None:
    content, key = AVERAGED[layout]
    source, out = put(tmp_path, content), tmp_path / "w"
    raw = convert(source, out)
    assert_same(out, RAW)
    assert (raw.averaged, raw.others) == (False, (key,))
    averaged = convert(source, out, ema=True)
    assert_same(out, EMA)
    assert (averaged.averaged, averaged.key, averaged.others) == (True, key, (raw.key,))
    convert(source, out, key=key)
    assert_same(out, EMA)


TOGETHER = {
    "ema_pytorch": (
        {**prefixed("online_model.", RAW), **prefixed("ema_model.", EMA), "step": torch.tensor(3)},
        ("online_model", "ema_model"),
    ),
    "a module beside": (
        {"state_dict": {**prefixed("net.", RAW), **prefixed("ema.module.", EMA)}},
        ("state_dict.net", "state_dict.ema"),
    ),
}


@pytest.mark.parametrize("layout", TOGETHER)
def test_a_trained_and_an_averaged_model_in_one_state_dict_are_two(
    tmp_path: Path, layout: str
) -> None:
    content, (raw, average) = TOGETHER[layout]
    source = put(tmp_path, content)
    assert convert(source, tmp_path / "w").key == raw
    assert_same(tmp_path / "w", RAW)
    assert convert(source, tmp_path / "w", ema=True).key == average
    assert_same(tmp_path / "w", EMA)


def test_an_averaged_model_beside_more_than_one_part_leaves_the_parts_together(
    tmp_path: Path,
) -> None:
    parts = {**prefixed("model.", RAW), "criterion.w": torch.ones(3)}
    source = put(tmp_path, {**parts, **prefixed("model_ema.", EMA)})
    convert(source, tmp_path / "w")
    assert_same(tmp_path / "w", parts)
    convert(source, tmp_path / "w", ema=True)
    assert_same(tmp_path / "w", EMA)
    encoders = {**prefixed("encoder_q.", RAW), **prefixed("encoder_k.", EMA)}
    convert(put(tmp_path, encoders), tmp_path / "w")
    assert_same(tmp_path / "w", encoders)


def test_what_lightning_has_beside_its_model_is_said(tmp_path: Path) -> None:
    state_dict = {**prefixed("model.", RAW), "criterion.weight": torch.ones(3)}
    source = put(tmp_path, {**LIGHTNING, "state_dict": state_dict})
    assert convert(source, tmp_path / "w").beside == ("criterion.weight",)
    found = convert(source, tmp_path / "w", key="state_dict.model")
    assert_same(tmp_path / "w", RAW)
    assert found.beside == ()


@pytest.mark.parametrize("content", [[RAW, {"epoch": 3}], (RAW, 3), {"models": [RAW, EMA]}])
def test_weights_in_a_list_are_found(tmp_path: Path, content: Any) -> None:
    convert(put(tmp_path, content), tmp_path / "w")
    assert_same(tmp_path / "w", RAW)


def test_an_averaged_model_is_unwrapped_and_said_to_be_one(tmp_path: Path) -> None:
    model = AveragedModel(nn.Linear(3, 2))
    found = convert(put(tmp_path, model.state_dict()), tmp_path / "w")
    assert_same(tmp_path / "w", dict(model.module.state_dict()))
    assert (found.averaged, found.dropped, found.stripped) == (True, ("n_averaged",), ("module.",))


def test_averaged_weights_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    source = put(tmp_path, {"generator": RAW, "epoch": 1})
    with pytest.raises(FormatError, match=r"source.pt: holds no averaged .* from 'generator'$"):
        convert(source, tmp_path / "w", ema=True)
    with pytest.raises(FormatError, match=r"holds no weights at 'critic'; .* from 'generator'$"):
        convert(source, tmp_path / "w", key="critic")
    assert not (tmp_path / "w").exists()


def test_a_prefix_that_some_names_lack_stays(tmp_path: Path) -> None:
    some = {"backbone.w": torch.rand(2), "head.w": torch.rand(3)}
    found = convert(put(tmp_path, some), tmp_path / "w")
    assert_same(tmp_path / "w", some)
    assert found.stripped == ()


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (
            {"state_dict": prefixed("model.", RAW) | {"criterion.w": EMA["0.weight"]}},
            "state_dict.model",
        ),
        (prefixed("net.", RAW) | {"ema.shadow.w": EMA["0.weight"]}, "net"),
        ({"a": {"b": prefixed("student.module.", RAW) | prefixed("teacher.", EMA)}}, "a.b.student"),
    ],
)
def test_a_key_may_lead_on_into_the_names(tmp_path: Path, content: Any, key: str) -> None:
    found = convert(put(tmp_path, content), tmp_path / "w", key=key)
    assert_same(tmp_path / "w", RAW)
    assert found.key == key
    assert found.dropped


def test_the_published_pool_gets_the_names_of_our_clip_classifier(tmp_path: Path) -> None:
    from soup.models.clip_models import build
    from tests.worlds import architecture, tiny_clip

    config, _ = tiny_clip(tmp_path)
    made = architecture(size=16)
    ours = build(
        type(made)(**{**vars(made), "library": "open_clip", "model": config, "kwargs": {}})
    )
    expected = {n: torch.randn_like(t) for n, t in ours.state_dict().items()}
    names = {n.replace("head.", "classification_head.", 1): t for n, t in expected.items()}
    pool = {n if n.startswith("class") else f"model.{n}": t for n, t in names.items()}
    text = {"model.logit_scale": torch.ones(()), "model.token_embedding.weight": torch.rand(9, 2)}
    source = put(tmp_path, {f"module.{n}": t for n, t in {**text, **pool}.items()})
    found = convert(source, tmp_path / "w")
    assert_same(tmp_path / "w", expected)
    ours.load_state_dict(load_file(tmp_path / "w"))
    assert (found.layout, found.stripped) == ("model-soups", ("module.",))
    assert set(found.dropped) == {f"module.{name}" for name in text}
    assert found.renamed["module.classification_head.weight"] == "head.weight"


@given(models=alike(most=1))
def test_every_kind_of_tensor_survives(
    tmp_path_factory: pytest.TempPathFactory, models: list[dict[str, Tensor]]
) -> None:
    folder = tmp_path_factory.mktemp("kinds")
    weights = {**models[0], "one": torch.ones(1)}
    convert(put(folder, weights), folder / "w")
    kept = Checkpoint(folder / "w")
    assert list(kept) == sorted(weights)
    for name, tensor in weights.items():
        assert kept[name].dtype == tensor.dtype
        assert torch.equal(kept[name], tensor)


def test_views_are_written_out_and_ties_once(tmp_path: Path) -> None:
    base = torch.arange(12.0).view(3, 4)
    weights = {
        "transposed": base.T,
        "column": base[:, 1],
        "expanded": torch.tensor([[3.0]]).expand(4, 5),
        "tied": torch.rand(1000),
        "float8": torch.rand(4).to(torch.float8_e4m3fn),
        "complex": torch.rand(4, dtype=torch.complex64).conj(),
    }
    weights["again"] = weights["tied"]
    found = convert(put(tmp_path, weights), tmp_path / "w")
    kept = Checkpoint(tmp_path / "w")
    for name, tensor in weights.items():
        assert kept[name].dtype == tensor.dtype
        assert torch.equal(kept[name].to(torch.complex64), tensor.to(torch.complex64)), name
    assert found.size < 2 * 4000
    assert kept.specs["tied"].tied == kept.specs["again"].tied
    convert(tmp_path / "w", tmp_path / "v")
    assert (tmp_path / "v").stat().st_size < 2 * 4000


def test_what_cannot_be_averaged_is_named_all_at_once(tmp_path: Path) -> None:
    bad = {
        "fine": torch.ones(2),
        "c": torch.ones(2, dtype=torch.complex128),
        "q": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        "s": torch.eye(2).to_sparse(),
        "m": torch.ones(2, device="meta"),
    }
    wanted = (
        r"source.pt: c is complex128, q is quantised, s is sparse_coo, m is without data \(meta"
    )
    with pytest.raises(FormatError, match=wanted):
        convert(put(tmp_path, bad), tmp_path / "w")
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ({**training(), "loss": torch.tensor(1.0)}, "only the keys epoch, optimizer, lr_sched"),
        ([torch.ones(2)], "holds no weights, but list"),
        (torch.ones(2), "holds no weights, but Tensor"),
        ({}, "holds no weights, but dict"),
        ({1: torch.ones(2)}, "holds no weights, but only the keys 1"),
    ],
)
def test_a_file_without_weights_says_what_it_has(
    tmp_path: Path, content: object, wanted: str
) -> None:
    with pytest.raises(FormatError, match=f"source.pt: .*{wanted}"):
        convert(put(tmp_path, content), tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_an_input_is_never_overwritten(tmp_path: Path) -> None:
    source = put(tmp_path, RAW)
    before = source.read_bytes()
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(FormatError, match="link: is part of what is to be imported"):
        convert(source, tmp_path / "link")
    assert source.read_bytes() == before


def test_a_pickle_that_leads_back_to_itself_ends(tmp_path: Path) -> None:
    content: dict[str, Any] = {"model": RAW}
    content["self"] = content
    content["model_self"] = {"inner": content}
    assert convert(put(tmp_path, content), tmp_path / "w").key == "model"


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    source = put(tmp_path, {"model": RAW, "model_ema": EMA})
    convert(source, tmp_path / "a")
    convert(str(source), str(tmp_path / "b"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
