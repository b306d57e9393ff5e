"""A soup of adapters as one adapter: exact at the ranks' sum, the nearest one at a smaller rank."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import soup
from soup.errors import BadInput
from soup.weights.adapters import Adapted, Adapter
from soup.weights.adapters.as_adapter import Written, as_adapter
from soup.weights.adapters.folder import WEIGHTS_FILE
from tests.weights.adapters.peft_models import adapter, base, largest_gap, merged

ALL = ["words", "query", "wide", "patch"]


def opened(folder: Path, start: Path) -> Adapted:
    return Adapted(Adapter.open(str(folder)), soup.Checkpoint(start))


def write(made: Written, folder: Path) -> Path:
    soup.save(made.tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(made.settings))
    return folder


def three(root: Path) -> tuple[Path, list[Adapted]]:
    """A base and three adapters of other ranks, scales and layers."""
    start = base(root)
    settings: list[dict[str, Any]] = [
        {"target_modules": ALL, "modules_to_save": ["head"]},
        {"r": 2, "use_rslora": True, "modules_to_save": ["head"]},
        {"target_modules": ["query"], "rank_pattern": {"query": 1}, "bias": "lora_only"},
    ]
    for seed, values in enumerate(settings):
        adapter(start, root / f"a{seed}", seed=seed, **values)
    return start, [opened(root / f"a{seed}", start) for seed in range(3)]


def test_the_adapter_of_the_summed_rank_is_the_soup_and_peft_reads_it_so(tmp_path: Path) -> None:
    start, models = three(tmp_path)
    shares = [0.5, 0.25, 0.25]
    made = as_adapter(models, shares, None)
    assert (made.rank, made.lost) == (7, 0.0)
    folder = write(made, tmp_path / "sum")
    mean = soup.average(models, shares)
    assert largest_gap(opened(folder, start), mean) < 1e-6
    assert largest_gap(merged(start, folder), mean) < 1e-6


@pytest.mark.parametrize("rank", [None, 4, 9])
@pytest.mark.parametrize("settings", [{}, {"use_rslora": True, "alpha_pattern": {"wide": 5}}])
def test_one_adapter_at_weight_one_is_itself_bit_for_bit(
    tmp_path: Path, rank: int | None, settings: dict[str, Any]
) -> None:
    start = base(tmp_path)
    adapter(start, tmp_path / "a", target_modules=ALL, bias="all", **settings)
    made = as_adapter([opened(tmp_path / "a", start)], [1.0], rank)
    own = load_file(tmp_path / "a" / "adapter_model.safetensors")
    assert set(made.tensors) == set(own)
    assert all(torch.equal(made.tensors[name], own[name]) for name in own)
    assert made.settings == json.loads((tmp_path / "a" / "adapter_config.json").read_text())


def test_a_smaller_rank_is_the_nearest_and_its_error_is_the_one_told(tmp_path: Path) -> None:
    start, models = three(tmp_path)
    made = as_adapter(models, [1 / 3] * 3, 2)
    short = opened(write(made, tmp_path / "short"), start)
    mean, first = soup.average(models), soup.Checkpoint(start)
    for name in ("query.weight", "patch.weight", "words.weight"):
        change = (mean[name] - first[name]).double().flatten(1)
        left_out = change - (short[name] - first[name]).double().flatten(1)
        values = torch.linalg.svdvals(change)
        told = made.lost_of[name.removesuffix(".weight")]
        assert float(left_out.norm() / change.norm()) == pytest.approx(told, abs=1e-5)
        assert told == pytest.approx(float(values[2:].norm() / values.norm()), abs=1e-5)
        assert told > 0.01
    assert min(made.lost_of.values()) < made.lost < max(made.lost_of.values())
    assert torch.equal(short["head.weight"], mean["head.weight"])  # saved whole, so averaged whole


@pytest.mark.parametrize("rank", [None, 2])
def test_adapters_that_only_replace_modules_are_averaged_as_such(
    tmp_path: Path, rank: int | None
) -> None:
    start = base(tmp_path)
    models = []
    for seed in range(2):
        folder = tmp_path / f"a{seed}"
        adapter(start, folder, seed=seed, modules_to_save=["head"])
        whole = {n: t for n, t in load_file(folder / WEIGHTS_FILE).items() if "lora_" not in n}
        soup.save(whole, folder / WEIGHTS_FILE)
        models.append(opened(folder, start))
    made = as_adapter(models, [0.75, 0.25], rank)
    assert (made.rank, made.lost) == (4, 0.0)
    folder = write(made, tmp_path / "sum")
    mean = soup.average(models, [0.75, 0.25])
    assert not torch.equal(mean["head.weight"], soup.Checkpoint(start)["head.weight"])
    assert largest_gap(opened(folder, start), mean) < 1e-6
    assert largest_gap(merged(start, folder), mean) < 1e-6


def test_what_is_no_adapter_is_refused(tmp_path: Path) -> None:
    start = base(tmp_path)
    adapter(start, tmp_path / "a", use_dora=True)
    with pytest.raises(BadInput, match=r"is a DoRA adapter.*leave --rank out"):
        as_adapter([opened(tmp_path / "a", start)] * 2, [0.5, 0.5], None)


def test_the_dtype_of_the_factors_stays(tmp_path: Path) -> None:
    start, models = three(tmp_path)
    kinds: set[torch.dtype] = {
        t.dtype for t in as_adapter(models, [0.2, 0.3, 0.5], 3).tensors.values()
    }
    assert kinds == {torch.float32}
    halves: dict[str, Tensor] = {
        n: t.bfloat16() for n, t in load_file(tmp_path / "a0" / "adapter_model.safetensors").items()
    }
    soup.save(halves, tmp_path / "a0" / "adapter_model.safetensors")
    half = opened(tmp_path / "a0", start)
    made = as_adapter([half, half], [0.5, 0.5], 3)
    assert {tensor.dtype for tensor in made.tensors.values()} == {torch.bfloat16}
