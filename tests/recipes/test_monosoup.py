"""MonoSoup damps singular directions as the paper's formula says, literally and slowly."""

import math
from dataclasses import replace
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from soup.recipes.ingredient import Unusable
from soup.recipes.monosoup import count_by, count_by_entropy, factors, monosoup
from soup.recipes.wise_ft import interpolate
from soup.weights import Weights
from tests.recipes.families import Family, assert_close, families, named, same
from tests.reference import average

Model = dict[str, Tensor]


def literal(tuned: Tensor, base: Tensor, energy: float | None) -> Tensor:
    """One tensor by the formula, with torch's singular value decomposition in float64."""
    start, end = base.double(), tuned.double()
    change = (end - start).reshape(len(start), -1) if start.ndim > 1 else end - start
    size = float(start.norm())
    if start.ndim < 2 or start.numel() == 0 or float(change.norm()) <= 1e-6 * size:
        return tuned
    u, s, v = torch.linalg.svd(change, full_matrices=False)
    values = [value if value > 1e-9 * float(s[0]) else 0.0 for value in s.tolist()]
    total = sum(value**2 for value in values)
    if energy is None:
        shares = [value / sum(values) for value in values]
        entropy = -sum(p * math.log(p) for p in shares if p > 0)
        k = min(max(math.ceil(math.exp(entropy) - 1e-9), 1), len(values))
    else:
        k = 1
        while sum(value**2 for value in values[:k]) < (energy - 1e-12) * total:
            k += 1
    p = sum(value**2 for value in values[:k]) / total
    rho = (values[k] / values[0]) ** 2 if k < len(values) else 0.0
    low = rho + (1 - rho) * math.sqrt(max(1 - p, 0.0))
    high = 1 - low
    strong = sum(
        (values[i] * torch.outer(u[:, i], v[i]) for i in range(k)), torch.zeros_like(change)
    )
    mono = start.reshape(len(start), -1) + high * strong + low * (change - strong)
    return mono.reshape(start.shape)


def rounded(model: Model, values: dict[str, Tensor]) -> Model:
    return {n: values[n].to(t.dtype) if n in values else t for n, t in model.items()}


@pytest.mark.parametrize("energy", [None, 0.3, 0.8, 0.95])
@settings(max_examples=40, deadline=None)
@given(families())
def test_it_is_the_equation_of_the_mean_tensor_by_tensor(
    energy: float | None, family: Family
) -> None:
    wide = [
        {n: t.double() if t.is_floating_point() else t for n, t in m.items()} for m in family.models
    ]
    mean = average(wide)
    expected = {
        name: literal(mean[name], tensor, energy)
        for name, tensor in family.base.items()
        if tensor.is_floating_point()
    }
    found = monosoup(family.ingredients, family.base, energy=energy)
    for name, tensor in rounded(family.models[0], expected).items():
        if not tensor.is_floating_point():
            assert torch.equal(found.weights[name], tensor)
            continue
        error = (found.weights[name].double() - tensor.double()).abs()
        least = max(1e-6, 2 * torch.finfo(tensor.dtype).eps)
        assert not bool((error > least * (1 + tensor.double().abs())).any())


def test_a_convolution_is_a_matrix_of_its_outputs() -> None:
    torch.manual_seed(0)
    base, model = torch.randn(2, 6, 3, 2, 2) * 3.0 ** -torch.arange(6).view(6, 1, 1, 1)
    found = monosoup(named([{"w": model}]), {"w": base}).weights["w"]
    torch.testing.assert_close(found, literal(model, base, None).float())
    assert not torch.allclose(found, model, atol=0.01)


@settings(max_examples=40, deadline=None)
@given(families(most=1))
def test_all_the_energy_is_the_model_itself_bit_for_bit(family: Family) -> None:
    assert same(monosoup(family.ingredients, family.base, energy=1).weights, family.models[0])


@pytest.mark.parametrize("energy", [None, 0.8])
def test_the_control_has_the_same_norms_and_the_direction_of_the_change(
    energy: float | None,
) -> None:
    torch.manual_seed(0)
    decaying = 3.0 ** -torch.arange(5)
    base, *models = (
        {"w": torch.randn(7, 5).double() * decaying, "b": torch.randn(4)} for _ in range(3)
    )
    changes = {}
    how: Literal["spectral", "norm"]
    for how in ("spectral", "norm"):
        found = monosoup(named(models), base, energy=energy, shrink=how).weights
        changes[how] = found["w"] - base["w"]
        torch.testing.assert_close(found["b"], (models[0]["b"] + models[1]["b"]) / 2)
    whole = (models[0]["w"] + models[1]["w"]) / 2 - base["w"]
    assert float(changes["norm"].norm()) == pytest.approx(float(changes["spectral"].norm()))
    assert float(changes["norm"].norm()) < 0.98 * float(whole.norm())
    ratio = changes["norm"] / whole
    torch.testing.assert_close(ratio, torch.full_like(ratio, float(ratio[0, 0])))
    assert not torch.allclose(changes["norm"], changes["spectral"], atol=0.003)


def test_alpha_leads_from_the_base_to_the_result() -> None:
    torch.manual_seed(0)
    base, model = ({"w": torch.randn(4, 3), "b": torch.randn(4)} for _ in range(2))
    ends = [monosoup(named([model]), base, alpha=a).weights for a in (0.0, 1.0)]
    assert same(ends[0], base)
    half = monosoup(named([model]), base, alpha=0.5).weights
    assert_close(half, interpolate(named([ends[1]]), base, alpha=0.5).weights)


def test_a_judge_counts_the_errors_of_the_result_and_of_the_control_beside_it() -> None:
    torch.manual_seed(0)
    base, model = ({"w": torch.randn(4, 3)} for _ in range(2))
    asked: list[Weights] = []

    def judge(weights: Weights, at_most: float | None = None) -> int:
        asked.append(weights)
        return len(asked)

    soup = monosoup(named([model]), base, judge)
    assert (soup.errors, soup.kept) == (2, ("model 0",))
    assert [(t.errors, t.kept) for t in soup.trace] == [(1, False), (2, True)]
    assert [t.name for t in soup.trace] == ["control: one number a tensor, same norms", "monosoup"]
    # The pipeline keeps the judge's last answers as those of the soup: equal errors do not tell.
    assert same(asked[1], soup.weights)
    assert same(asked[0], monosoup(named([model]), base, shrink="norm").weights)


def test_it_can_be_that_of_the_best_model_on_heldout_alone() -> None:
    torch.manual_seed(0)
    base, *models = ({"w": torch.randn(4, 3)} for _ in range(4))
    ingredients = [
        replace(one, errors=errors) for one, errors in zip(named(models), [3, 1, 2], strict=True)
    ]
    soup = monosoup(ingredients, base, of="best")
    assert soup.kept == ("model 1",)
    assert same(soup.weights, monosoup(named([models[1]]), base).weights)
    with pytest.raises(Unusable, match="no ingredient with a held-out score"):
        monosoup([replace(one, errors=math.nan) for one in ingredients], base, of="best")
    with pytest.raises(Unusable, match="unknown of 'x'; known: all, best"):
        monosoup(ingredients, base, of="x")  # type: ignore[arg-type]


def test_equal_singular_values_and_a_single_one_are_counted_without_rounding() -> None:
    assert count_by_entropy(torch.tensor([4.0, 0.0, 0.0]).double()) == 1
    assert count_by_entropy(torch.tensor([9.0, 9.0, 9.0, 0.0]).double()) == 3
    assert count_by(0.8, torch.tensor([8.0, 1.0, 1.0]).double()) == 1
    assert count_by(0.81, torch.tensor([8.0, 1.0, 1.0]).double()) == 2
    assert count_by(1.0, torch.tensor([8.0, 1.0, 0.0]).double()) == 2
    low, high = factors(torch.tensor([8.0, 2.0]).double(), 1)
    assert low == pytest.approx(0.25 + 0.75 * math.sqrt(0.2))
    assert high == pytest.approx(1 - low)
    assert factors(torch.tensor([8.0, 2.0]).double(), 2) == (0, 1)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([0.0, -0.1, 1.1, math.nan]))
def test_a_share_out_of_range_and_an_unknown_way_are_refused(energy: float) -> None:
    models = named([{"w": torch.ones(2, 2)}])
    with pytest.raises(Unusable, match="energy is the share to keep, above 0 to 1"):
        monosoup(models, {"w": torch.zeros(2, 2)}, energy=energy)
    with pytest.raises(Unusable, match="unknown shrink 'x'; known: spectral, norm"):
        monosoup(models, {"w": torch.zeros(2, 2)}, shrink="x")  # type: ignore[arg-type]
