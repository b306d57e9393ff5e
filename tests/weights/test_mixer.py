"""Models are mixed the same whether they are held as matrices or read from files each time."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from soup.known_digests import Changed
from soup.weights import Incompatible, LazyWeights, Spec, Weights, specs
from soup.weights import mapping as mapping_module
from soup.weights import mixer as mixer_module
from soup.weights.checkpoint import Checkpoint, save
from soup.weights.local_file import LocalFile
from soup.weights.mixer import Mixer
from tests.laned import Lanes
from tests.strategies import alike, seeds

Model = dict[str, Tensor]


class Counted(LazyWeights):
    """Weights that remember how often each tensor was read."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self.reads: list[str] = []

    @property
    def specs(self) -> Mapping[str, Spec]:
        return specs(self._weights)

    def __getitem__(self, name: str) -> Tensor:
        self.reads.append(name)
        return self._weights[name]


def shares_of(models: Sequence[Model], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(len(models[0]), len(models), generator=generator, dtype=torch.float64)
    return dict(zip(models[0], raw.softmax(1), strict=True))


def gradients_of(model: Model, seed: int) -> Model:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(tensor.shape, generator=generator)
        for name, tensor in model.items()
        if tensor.is_floating_point()
    }


def largest(tensors: Sequence[Tensor]) -> float:
    return max([float(t.double().abs().max()) for t in tensors if t.numel()], default=0.0)


@given(alike(), seeds, st.sampled_from([0, 40, math.inf]), st.sampled_from([1, 7, 1 << 20]))
def test_a_mix_is_the_literal_sum_whatever_is_held(
    models: list[Model], seed: int, memory: float, columns: int
) -> None:
    shares = shares_of(models, seed)
    with patch.object(mixer_module, "BLOCK", columns):
        mixed = Mixer(models, memory=memory).mix(shares)
    assert list(mixed) == list(models[0])
    for name, first in models[0].items():
        if not first.is_floating_point():
            assert torch.equal(mixed[name], first)
            continue
        of = "layer0" if name == "tied" else name
        terms = [m[name].double() * s for m, s in zip(models, shares[of].tolist(), strict=True)]
        bound = 1e-6 * largest([m[name] for m in models])
        assert mixed[name].shape == first.shape
        assert mixed[name].dtype == (torch.float64 if first.dtype.itemsize == 8 else torch.float32)
        assert torch.allclose(mixed[name].double(), sum(terms, torch.zeros(())), rtol=0, atol=bound)
    if "tied" in mixed and models[0]["tied"].numel() and models[0]["tied"].is_floating_point():
        assert mixed["tied"] is mixed["layer0"]


@given(alike(), seeds, st.sampled_from([0, 40, math.inf]), st.sampled_from([1, 7, 1 << 20]))
def test_products_are_the_literal_inner_products_whatever_is_held(
    models: list[Model], seed: int, memory: float, columns: int
) -> None:
    gradients = gradients_of(models[0], seed)
    with patch.object(mixer_module, "BLOCK", columns):
        products = Mixer(models, memory=memory).products(gradients)
    tied = specs(models[0]).get("tied", Spec(torch.float32, (), "tied")).tied != "tied"
    assert list(products) == [n for n in gradients if n != "tied" or not tied]
    for name, found in products.items():
        both = tied and name == "layer0"
        gradient = gradients[name] + (gradients["tied"] if both else 0)
        expected = [float((gradient.double() * m[name].double()).sum()) for m in models]
        bound = 1e-5 * largest([m[name] for m in models]) * (1 + largest([gradient]))
        assert found.dtype == torch.float64
        assert torch.allclose(found, torch.tensor(expected).double(), rtol=0, atol=bound)


def test_files_give_what_dictionaries_give(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    models = []
    for index in range(3):
        weight = torch.randn(5, 4, generator=generator)
        models.append({"a": weight, "b": torch.randn(7, generator=generator).half(), "c": weight})
        save(models[-1], tmp_path / f"{index}.safetensors")
    files = [Checkpoint(tmp_path / f"{index}.safetensors") for index in range(3)]
    shares, gradients = shares_of(models, 1), {"a": torch.ones(5, 4), "b": torch.ones(7)}
    held, streamed = Mixer(models), Mixer(files, memory=0)
    assert held.held_bytes > 0
    assert streamed.held_bytes == 0
    mixed, again = held.mix(shares), streamed.mix(shares)
    assert again["c"] is again["a"]
    assert all(torch.allclose(mixed[n], again[n], atol=1e-6) for n in mixed)
    one, other = held.products(gradients), streamed.products(gradients)
    assert all(torch.allclose(one[n], other[n], atol=1e-5) for n in one)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64])
def test_files_are_read_straight_into_what_is_held(dtype: torch.dtype, tmp_path: Path) -> None:
    models = [{"a": torch.randn(5, 4).to(dtype), "b": torch.empty(0, dtype=dtype)} for _ in "123"]
    for index, model in enumerate(models):
        save(model, tmp_path / f"{index}.safetensors")
    files = [Checkpoint(tmp_path / f"{index}.safetensors") for index in range(3)]
    with patch.object(LocalFile, "reader", side_effect=AssertionError("a copy through a buffer")):
        mixer = Mixer(files)
    for index, model in enumerate(models):
        alone = torch.eye(3)[index]
        mixed = mixer.mix({"a": alone, "b": alone})["a"]
        assert torch.equal(mixed, model["a"].to(mixed.dtype))


def test_a_file_of_a_narrower_dtype_is_held_in_the_wider_one(tmp_path: Path) -> None:
    narrow, wide = torch.randn(7, 3).half(), torch.randn(7, 3)
    for name, weight in {"narrow": narrow, "wide": wide}.items():
        save({"w": weight}, tmp_path / f"{name}.safetensors")
    with patch.object(mapping_module, "PART", 5):
        mixer = Mixer([Checkpoint(tmp_path / f"{name}.safetensors") for name in ("narrow", "wide")])
    assert torch.equal(mixer.mix({"w": torch.tensor([1.0, 0.0])})["w"], narrow.float())
    assert torch.equal(mixer.mix({"w": torch.tensor([0.0, 1.0])})["w"], wide)


def test_a_file_that_was_cut_short_since_is_named(tmp_path: Path) -> None:
    save({"w": torch.randn(1000)}, tmp_path / "model.safetensors")
    file = Checkpoint(tmp_path / "model.safetensors")
    Mixer([file])
    with (tmp_path / "model.safetensors").open("r+b") as opened:
        opened.truncate(2000)
    with pytest.raises(Changed, match=r"model\.safetensors was cut short while it was read"):
        Mixer([file])


def test_what_is_held_is_read_once_and_the_rest_for_every_use() -> None:
    model = {"a": torch.ones(10), "b": torch.ones(10), "c": torch.ones(2)}
    models = [Counted(model) for _ in range(3)]
    mixer = Mixer(models, memory=150)
    assert mixer.held_bytes == 3 * 12 * 4  # a and c; b of three models would exceed 150 bytes
    for _ in range(2):
        mixer.mix(dict.fromkeys(model, torch.ones(3) / 3))
    assert all(sorted(m.reads) == ["a", "b", "b", "c"] for m in models)


def test_held_models_keep_their_dtype_and_lose_nothing_of_a_wider_one() -> None:
    half, full = torch.tensor([1.5], dtype=torch.bfloat16), torch.tensor([1 + 2**-20])
    assert Mixer([{"w": half}, {"w": half}]).held_bytes == 4
    mixer = Mixer([{"w": half}, {"w": full}])
    assert mixer.held_bytes == 8
    assert mixer.mix({"w": torch.tensor([0.0, 1.0])})["w"].item() == 1 + 2**-20


def test_tied_tensors_are_held_once() -> None:
    embed = torch.ones(10)
    assert Mixer([{"embed": embed, "head": embed}] * 2).held_bytes == 2 * 10 * 4


def test_models_that_do_not_fit_together_are_refused_before_anything_is_read() -> None:
    models = [Counted({"w": torch.ones(2)}), Counted({"w": torch.ones(3)})]
    with pytest.raises(Incompatible, match=r"w is \(2,\) in the first and \(3,\) in the second"):
        Mixer(models)
    assert all(not m.reads for m in models)


def test_sums_are_written_to_the_tensors_that_are_given_where_they_fit() -> None:
    models = [
        {"a": torch.full((2, 3), value), "b": torch.full((4,), value)} for value in (1.0, 3.0)
    ]
    shares = dict.fromkeys(models[0], torch.tensor([0.25, 0.75]))
    out = {"a": torch.empty(2, 3), "b": torch.empty(4, dtype=torch.float64), "c": torch.empty(1)}
    mixed = Mixer(models).mix(shares, out)
    assert mixed["a"] is out["a"]
    assert mixed["b"].dtype == torch.float32
    assert [*mixed] == ["a", "b"]
    assert all(bool((tensor == 2.5).all()) for tensor in mixed.values())
    across = torch.empty(3, 2).T  # whose numbers are in another order
    assert torch.equal(Mixer(models).mix(shares, {"a": across})["a"], torch.full((2, 3), 2.5))


def test_any_number_of_threads_gives_the_same_bits(lanes: Lanes, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    files = []
    for index in range(3):
        save({"a": torch.randn(99, 7, generator=generator)}, tmp_path / f"{index}.safetensors")
        files.append(Checkpoint(tmp_path / f"{index}.safetensors"))
    gradient = {"a": torch.randn(99, 7, generator=generator)}
    found = []
    for memory, count in [(0, 1), (0, 3), (math.inf, 1), (math.inf, 3)]:
        lanes(count)
        with patch.object(mixer_module, "BLOCK", 30):
            mixer = Mixer(files, memory=memory)
            mixed = mixer.mix({"a": torch.tensor([0.2, 0.3, 0.5])})["a"]
            found.append((mixed, mixer.products(gradient)["a"]))
    for one, other in [found[:2], found[2:]]:
        assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))
