"""An adapter is the model that PEFT makes of it, and a soup of adapters the mean of those."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import soup
from soup.weights import Incompatible
from soup.weights.adapters import Adapted, Adapter
from soup.weights.mapping import specs
from tests.weights.adapters.peft_models import adapter, base, largest_gap

ALL = ["words", "query", "wide", "patch"]
SETTINGS: dict[str, dict[str, Any]] = {
    "LoRA": {},
    "rsLoRA": {"use_rslora": True},
    "DoRA": {"use_dora": True},
    "every kind of layer": {"target_modules": ALL},
    "DoRA of every kind": {"target_modules": ALL, "use_dora": True},
    "in, out": {"target_modules": ["turned"], "fan_in_fan_out": True},
    "DoRA of in, out": {"target_modules": ["turned"], "fan_in_fan_out": True, "use_dora": True},
    "ranks and alphas of their own": {
        "rank_pattern": {"query": 2},
        "alpha_pattern": {"wid.": 3, "query": 5},
        "use_rslora": True,
    },
    "a head that is trained whole": {"modules_to_save": ["head"]},
    "all biases": {"bias": "all"},
    "biases of the layers": {"bias": "lora_only"},
}


def opened(folder: Path, base_file: Path) -> Adapted:
    return Adapted(Adapter.open(str(folder)), soup.Checkpoint(base_file))


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_an_adapter_is_what_peft_merges(tmp_path: Path, settings: dict[str, Any]) -> None:
    start = base(tmp_path)
    want = adapter(start, tmp_path / "a", **settings)
    model = opened(tmp_path / "a", start)
    assert largest_gap(model, want) < 1e-6
    assert largest_gap(model, dict(soup.Checkpoint(start))) > 0.01
    assert {n: (s.dtype, s.shape) for n, s in model.specs.items()} == {
        n: (s.dtype, s.shape) for n, s in specs(want).items()
    }


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_an_adapter_at_weight_one_is_itself_bit_for_bit(
    tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soup.weights.streaming_sum.CACHED", 7)  # parts that end within rows
    start = base(tmp_path)
    adapter(start, tmp_path / "a", **settings)
    model = opened(tmp_path / "a", start)
    for weights in (None, [1.0], [0.25]):
        mean = soup.average([model], weights)
        assert all(torch.equal(mean[name], model[name]) for name in model)
    soup.save(mean, tmp_path / "out.safetensors")
    assert all(torch.equal(t, model[n]) for n, t in load_file(tmp_path / "out.safetensors").items())


def literal(folder: Path, weights: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """W + s B A of each linear layer, as the paper writes it, in float64."""
    out = {name: tensor.double() for name, tensor in weights.items()}
    factors = load_file(folder / "adapter_model.safetensors")
    for name, a in factors.items():
        if name.endswith(".lora_A.weight"):
            b = factors[name.replace("lora_A", "lora_B")]
            target = name.removeprefix("base_model.model.").replace(".lora_A", "")
            out[target] = out[target] + scale * b.double() @ a.double()
    return out


def test_a_soup_of_adapters_is_the_mean_of_their_models_rounded_once(tmp_path: Path) -> None:
    start = base(tmp_path)
    weights = dict(soup.Checkpoint(start))
    adapter(start, tmp_path / "a", seed=1, r=4, lora_alpha=6)
    adapter(start, tmp_path / "b", seed=2, r=2, lora_alpha=3, use_rslora=True)
    one = literal(tmp_path / "a", weights, 6 / 4)
    two = literal(tmp_path / "b", weights, 3 / math.sqrt(2))
    models = [opened(tmp_path / "a", start), opened(tmp_path / "b", start)]
    mean = soup.average(models, [3, 1])
    for name in weights:
        exact = (3 * one[name] + two[name]) / 4
        assert torch.equal(mean[name], exact.float()), name  # not one bit beside it


def test_the_mean_of_factors_is_another_model(tmp_path: Path) -> None:
    start = base(tmp_path)
    for seed, name in enumerate("ab"):
        adapter(start, tmp_path / name, seed=seed)
    mean = soup.average([opened(tmp_path / name, start) for name in "ab"])
    files = [load_file(tmp_path / name / "adapter_model.safetensors") for name in "ab"]
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "adapter_config.json").write_text(json.dumps(config))
    save_file(
        {n: (files[0][n] + files[1][n]) / 2 for n in files[0]},
        tmp_path / "c" / "adapter_model.safetensors",
    )
    assert largest_gap(opened(tmp_path / "c", start), mean) > 0.005


def test_recipes_take_adapters_beside_whole_models(tmp_path: Path) -> None:
    start = base(tmp_path)
    whole = adapter(start, tmp_path / "a")
    soup.save(whole, tmp_path / "whole.safetensors")
    models = [opened(tmp_path / "a", start), soup.Checkpoint(tmp_path / "whole.safetensors")]
    assert largest_gap(soup.average(models), whole) < 1e-6


def test_a_base_under_the_names_of_the_encoder_takes_the_adapter_of_a_classifier(
    tmp_path: Path,
) -> None:
    """MiniLM is published as `encoder.layer.0...`; a classifier calls it `bert.encoder...`."""
    start = base(tmp_path)
    adapter(start, tmp_path / "a", modules_to_save=["head"])
    file = tmp_path / "a" / "adapter_model.safetensors"
    inner = ("query", "wide")
    bert = {
        n.replace("base_model.model.", "base_model.model.bert.")
        if n.split(".")[2] in inner
        else n: t
        for n, t in load_file(file).items()
    }
    plain = opened(tmp_path / "a", start)
    save_file(bert, file)
    weights = {n: t for n, t in soup.Checkpoint(start).items() if not n.startswith("head")}
    soup.save(weights, tmp_path / "encoder.safetensors")
    model = opened(tmp_path / "a", tmp_path / "encoder.safetensors")
    want = {n if n.startswith("head") else f"bert.{n}": t for n, t in plain.items()}
    assert set(model) == set(want)
    assert all(torch.equal(model[name], want[name]) for name in want)
    soup.save({f"bert.{n}": t for n, t in soup.Checkpoint(start).items()}, tmp_path / "outer.st")
    save_file({n.replace(".bert.", "."): t for n, t in bert.items()}, file)
    outer = opened(tmp_path / "a", tmp_path / "outer.st")
    assert torch.equal(outer["bert.query.weight"], plain["query.weight"])


def test_a_weight_that_is_tied_is_changed_under_both_names(tmp_path: Path) -> None:
    start = base(tmp_path)
    adapter(start, tmp_path / "a", target_modules=["wide"], modules_to_save=["head"])
    weights = dict(soup.Checkpoint(start))
    weights["again.weight"] = weights["wide.weight"]
    weights["other.weight"] = weights["head.weight"]
    soup.save(weights, tmp_path / "tied.safetensors")
    model = opened(tmp_path / "a", tmp_path / "tied.safetensors")
    assert torch.equal(model["again.weight"], model["wide.weight"])
    assert torch.equal(model["other.weight"], weights["other.weight"])  # PEFT copies what it saves
    assert not torch.equal(model["head.weight"], weights["head.weight"])
    mean = soup.average([model])
    assert all(torch.equal(mean[name], model[name]) for name in model)


def test_a_base_without_the_layers_or_of_other_shapes_is_named(tmp_path: Path) -> None:
    start = base(tmp_path)
    adapter(start, tmp_path / "a")
    weights = dict(soup.Checkpoint(start))
    soup.save({n: t for n, t in weights.items() if "query" not in n}, tmp_path / "lacks.st")
    with pytest.raises(Incompatible, match=r"lacks\.st, which lacks query\.weight"):
        opened(tmp_path / "a", tmp_path / "lacks.st")
    soup.save({**weights, "wide.weight": torch.ones(8, 6)}, tmp_path / "small.st")
    with pytest.raises(Incompatible, match=r"wide\.weight is \(8, 6\); A is \(4, 6\) and B \(9, 4"):
        opened(tmp_path / "a", tmp_path / "small.st")


def test_the_digest_is_of_base_and_adapter(tmp_path: Path) -> None:
    start = base(tmp_path)
    adapter(start, tmp_path / "a")
    before = opened(tmp_path / "a", start).digest()
    config = tmp_path / "a" / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": 6', '"lora_alpha": 7'))
    scaled = opened(tmp_path / "a", start).digest()
    soup.save({n: 2 * t for n, t in soup.Checkpoint(start).items()}, start)
    assert len({before, scaled, opened(tmp_path / "a", start).digest()}) == 3
