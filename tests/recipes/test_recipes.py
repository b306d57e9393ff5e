"""What holds for every recipe, whatever it does."""

import inspect
import math
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings

from soup.recipes import RECIPES
from soup.recipes.ingredient import Ingredient, Soup
from soup.recipes.judge import Judge
from soup.weights import LazyWeights, NotFinite, Weights, materialize, specs
from soup.weights.checkpoint import Checkpoint, save
from tests.recipes.families import Family, Model, OfAverages, assert_close, families, named, same

SELECTING = {"greedy", "removal", "repetition", "pruned", "radin"}
# Options by which a recipe of one model is that model.
WHOLE: dict[str, dict[str, Any]] = {
    "interpolate": {"alpha": 1},
    "monosoup": {"energy": 1},
    "ties": {"density": 1},
    "dare": {"drop": 0},
}
OURS = [name for name in RECIPES if name not in {"learned", "mehl"}]


def cook(
    name: str, ingredients: Sequence[Ingredient], base: Weights, judge: Judge, **options: Any
) -> Soup:
    """Any recipe, given what its parameters ask for."""
    wanted = inspect.signature(RECIPES[name]).parameters
    if "base" in wanted:
        options["base"] = base
    if "judge" in wanted and name in SELECTING:
        options["judge"] = judge
        ingredients = [Ingredient(i.name, i.weights, judge(i.weights)) for i in ingredients]
    if "fishers" in wanted:
        options["fishers"] = [squares(i.weights) for i in ingredients]
    if name == "radin":
        options["predictions"] = OfAverages(ingredients, judge)
    return RECIPES[name](ingredients, **options)


def squares(weights: Weights) -> Model:
    """Fisher information of a sort: no number's is that of another."""
    floats = (n for n in weights if weights[n].is_floating_point())
    return {n: weights[n].nan_to_num(posinf=0) ** 2 + 1 for n in floats}


def size(weights: Weights, at_most: float | None = None) -> float:
    """A loss to select by: the sum of all numbers."""
    floats = (weights[name] for name in weights if weights[name].is_floating_point())
    return sum(float(tensor.double().sum()) for tensor in floats)


def content(weights: Weights, at_most: float | None = None) -> int:
    """A judge that likes all alike, so that everyone is kept."""
    return 3


def test_each_recipe_says_in_a_line_when_to_use_it() -> None:
    for name, recipe in RECIPES.items():
        line, *rest = (recipe.__doc__ or "").splitlines()
        assert line.endswith("."), name
        assert not rest or rest[0] == "", name


def test_each_recipe_says_by_name_what_it_needs() -> None:
    for name in OURS:
        first, *others = inspect.signature(RECIPES[name]).parameters.values()
        assert first.name == "ingredients"
        required = {p.name for p in others if p.default is p.empty}
        assert required <= {"judge", "base", "fishers", "predictions"}, name


@pytest.mark.parametrize("name", [n for n in OURS if n != "slerp"])
@settings(max_examples=10)
@given(families(most=1))
def test_one_model_comes_back_bit_for_bit(name: str, family: Family) -> None:
    soup = cook(name, family.ingredients, family.base, size, **WHOLE.get(name, {}))
    assert same(soup.weights, family.models[0])
    assert soup.kept == ("model 0",)


@pytest.mark.parametrize("name", [n for n in OURS if n != "slerp"])
def test_so_does_a_number_that_is_far_smaller_than_the_base(name: str) -> None:
    family = Family({"w": torch.tensor([0.1, 3e8])}, [{"w": torch.tensor([1e-12, 1e-30])}])
    soup = cook(name, family.ingredients, family.base, size, **WHOLE.get(name, {}))
    assert same(soup.weights, family.models[0])


@pytest.mark.parametrize("name", OURS)
@settings(max_examples=10)
@given(families(most=1))
def test_equal_models_are_a_fixed_point(name: str, family: Family) -> None:
    for count in [2] if name == "slerp" else [2, 3]:
        models = named(family.models * count)
        soup = cook(name, models, family.base, content, **WHOLE.get(name, {}))
        for tensor, value in soup.weights.items():
            expected = family.models[0][tensor]
            if value.dtype == torch.float64:  # a sum of three may be rounded
                torch.testing.assert_close(value, expected, rtol=3e-16, atol=0)
            else:
                assert torch.equal(value, expected)


@pytest.mark.parametrize("name", OURS)
@settings(max_examples=10)
@given(families(most=1))
def test_models_that_are_their_base_stay_so(name: str, family: Family) -> None:
    soup = cook(name, named(family.models * 2), family.models[0], content)
    assert same(soup.weights, family.models[0])


@pytest.mark.parametrize("name", OURS)
@settings(max_examples=10)
@given(families(least=2, most=2))
def test_counters_are_the_first_models_ties_stay_and_inputs_are_not_touched(
    name: str, family: Family
) -> None:
    before = [{n: t.clone() for n, t in m.items()} for m in [family.base, *family.models]]
    soup = cook(name, family.ingredients, family.base, content)
    first = next(each.weights for each in family.ingredients if each.name == soup.kept[0])
    assert soup.weights["steps"] == first["steps"]
    assert torch.equal(soup.weights["mask"], first["mask"])
    assert {n: s.tied for n, s in specs(soup.weights).items()} == {
        n: s.tied for n, s in specs(family.base).items()
    }
    assert [soup.weights[n].dtype for n in first] == [first[n].dtype for n in first]
    for tensor in soup.weights.values():
        tensor.zero_()
    assert all(map(same, before, [family.base, *family.models]))


@pytest.mark.parametrize("name", OURS)
@settings(max_examples=10)
@given(families(least=2))
def test_the_order_given_matters_no_more_than_rounding(name: str, family: Family) -> None:
    models = family.models[:2] if name == "slerp" else family.models
    assume(len(set(map(size, models))) == len(models))  # equals keep the given order
    one = cook(name, named(models), family.base, size)
    other = cook(name, named(models)[::-1], family.base, size)
    floats = [n for n, t in one.weights.items() if t.is_floating_point()]
    assert_close({n: other.weights[n] for n in floats}, {n: one.weights[n] for n in floats})
    if name in SELECTING:
        assert one.kept == other.kept


@pytest.mark.parametrize("name", OURS)
def test_of_files_the_soup_is_computed_when_asked_for_and_is_the_same(
    name: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    base, *models = ({"a": torch.randn(5, 3), "b": torch.randn(4)} for _ in range(3))
    every = {"base": base} | dict(zip("xy", models, strict=True))
    for key, weights in every.items():
        save(weights | {"a again": weights["a"]}, tmp_path / key)
    files = {key: Checkpoint(tmp_path / key) for key in every}
    found, expected = (
        cook(name, [Ingredient(k, pool[k], math.nan) for k in "xy"], pool["base"], size)
        for pool in (files, {k: materialize(f) for k, f in files.items()})
    )
    assert isinstance(found.weights, LazyWeights) or name == "greedy"
    cooked = materialize(found.weights)
    assert same(cooked, expected.weights)
    assert cooked["a"] is cooked["a again"]


@pytest.mark.parametrize("name", [n for n in OURS if n not in {"greedy"}])
def test_an_infinite_mask_is_kept_and_a_model_that_diverged_is_named(name: str) -> None:
    mask = torch.tensor([0.0, -math.inf])
    base, *models = ({"w": torch.full((2,), 1.0 + i), "mask": mask} for i in range(3))
    assert torch.equal(cook(name, named(models), base, content).weights["mask"], mask)
    for wrong in (math.nan, math.inf):
        models[1]["w"] = torch.tensor([wrong, 5.0])
        with pytest.raises(NotFinite, match="model 2: w has 1 NaN or infinite of 2 numbers"):
            cook(name, named(models), base, content, **WHOLE.get(name, {}))


NEEDS_BASE = [n for n in OURS if "base" in inspect.signature(RECIPES[n]).parameters]


@pytest.mark.parametrize("name", NEEDS_BASE)
def test_a_base_of_another_model_is_an_error_that_names_the_tensor(name: str) -> None:
    models = named([{"w": torch.zeros(2)}, {"w": torch.ones(2)}])
    with pytest.raises(ValueError, match=r"w is \(2,\) in the first and \(3,\) in the second"):
        cook(name, models, {"w": torch.zeros(3)}, content)


TUNED: dict[str, tuple[str, float]] = {
    "interpolate": ("alpha", 0.5),
    "task": ("scale", 1.0),
    "ties": ("scale", 1.0),
    "dare": ("scale", 1.0),
}


@pytest.mark.parametrize("name", TUNED)
@pytest.mark.parametrize("target", [0.5, 1.0])
def test_the_judge_chooses_the_number(name: str, target: float) -> None:
    label, _ = TUNED[name]
    asked = []

    def judge(weights: Weights, at_most: float | None = None) -> int:
        asked.append((float(weights["w"]), at_most))
        return round(10 * abs(float(weights["w"]) - target))

    soup = line(name, judge=judge)
    assert (float(soup.weights["w"]), soup.errors) == (target, 0)
    assert soup.kept == ("model 0", "model 1")
    assert [t.name for t in soup.trace if t.kept] == [f"{label} {target:g}"]
    values, limits = zip(*asked, strict=True)
    assert [t.name for t in soup.trace] == [f"{label} {value:.3g}" for value in values]
    assert [t.at_most for t in soup.trace] == list(limits)
    assert limits == (None, *(min(t.errors for t in soup.trace[:i]) for i in range(1, len(values))))
    assert list(values) == sorted(values)


@pytest.mark.parametrize("name", TUNED)
def test_of_equals_it_chooses_the_largest_and_nothing_where_it_is_given(name: str) -> None:
    label, default = TUNED[name]
    assert float(line(name, judge=content).weights["w"]) == (1 if label == "alpha" else 2)
    given = line(name, judge=content, **{label: 0.25})
    assert float(given.weights["w"]) == 0.25
    assert [(t.name, t.errors, t.kept) for t in given.trace] == [(f"{label} 0.25", 3, True)]
    alone = line(name)
    assert (float(alone.weights["w"]), alone.errors) == (default, None)


@pytest.mark.parametrize("name", TUNED)
@pytest.mark.parametrize(("low", "high"), [(-1, 0.4), (0.9, 1.3), (-1, 9)])
def test_a_cost_that_is_nan_loses_to_any_other(name: str, low: float, high: float) -> None:
    def judge(weights: Weights, at_most: float | None = None) -> float:
        value = float(weights["w"])
        return math.nan if low < value < high else 3 - value

    soup = line(name, judge=judge)
    best = min((t.errors for t in soup.trace if not math.isnan(t.errors)), default=math.nan)
    assert soup.errors == pytest.approx(best, nan_ok=True)
    assert judge(soup.weights) == pytest.approx(best, nan_ok=True)
    assert [t.errors for t in soup.trace if t.kept] == [pytest.approx(best, nan_ok=True)]


def line(name: str, **options: Any) -> Soup:
    """A recipe with one free number, whose soup has that number for "w"."""
    whole = {} if TUNED[name][0] in WHOLE.get(name, {}) else WHOLE.get(name, {})
    models = named([{"w": torch.ones(1)}] * 2)
    return RECIPES[name](models, base={"w": torch.zeros(1)}, **whole, **options)


@pytest.mark.parametrize("name", OURS)
def test_a_tensor_of_many_blocks_is_that_of_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    base, *models = ({"w": torch.randn(5, 7)} for _ in range(3))
    whole = cook(name, named(models), base, size).weights
    monkeypatch.setattr(import_module("soup.recipes.blending"), "BLOCK", 4)
    monkeypatch.setattr(import_module("soup.recipes.ties"), "BLOCK", 3)  # not the function
    assert same(cook(name, named(models), base, size).weights, whole)
