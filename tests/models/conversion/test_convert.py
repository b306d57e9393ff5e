"""Every layout that people have comes out as its weights alone, bit for bit, or not at all."""

import argparse
import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from safetensors.torch import load_file
from torch import Tensor, nn

from soup.models.conversion import FormatError, convert
from soup.weights.checkpoint import Checkpoint
from tests.models.conversion.checkpoints import (
    EMA,
    LIGHTNING,
    RAW,
    SHARED,
    assert_same,
    prefixed,
    put,
    training,
)
from tests.strategies import alike

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
