"""Masks, complex and half-precision tensors in every recipe."""

import inspect
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import soup
from soup.recipes import RECIPES
from soup.recipes.ingredient import Ingredient, Soup
from soup.recipes.judge import Judge
from soup.recipes.learned import Gradients
from soup.weights import NotFinite, Weights, cast, materialize
from soup.weights.algebra import replaced
from soup.weights.checkpoint import Checkpoint, save
from tests.recipes.families import OfAverages

Model = dict[str, Tensor]
# Options by which a recipe leaves the models' range.
BEYOND: dict[str, dict[str, Any]] = {
    "interpolate": {"alpha": 1.5},
    "task": {"scale": -1.0},
    "ties": {"scale": 2.0},
    "dare": {"scale": 2.0, "drop": 0.5},
    "slerp": {"t": 1.5},
}
TRIANGLE = torch.ones(4, 4).triu(1).bool()


class Bowl:
    """A held-out loss: the squared size of all weights."""

    device = torch.device("cpu")
    storage: Weights = MappingProxyType({})

    def batches(self, epoch: int, size: int | None = None) -> Iterable[int]:
        return range(2)

    def __call__(self, weights: Weights, beta: float, batch: int) -> Gradients:
        finite = {n: t for n, t in weights.items() if not t.isinf().any() and n != "steps"}
        free = {n: t.detach().clone().requires_grad_() for n, t in finite.items()}
        loss = torch.stack([t.abs().square().sum() for t in free.values()]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return Gradients(loss.item(), {n: t.grad for n, t in free.items()}, 0.0)

    def check(self, weights: Weights, beta: float) -> None:
        return None


def cook(
    name: str, models: Sequence[Weights], base: Weights, judge: Judge | None = None, **given: Any
) -> Soup:
    wanted = inspect.signature(RECIPES[name]).parameters
    options = BEYOND.get(name, {}) | given
    if "base" in wanted:
        options["base"] = base
    if judge is not None:
        options["judge"] = judge
    elif wanted.get("judge") and wanted["judge"].default is inspect.Parameter.empty:
        options["judge"] = lambda weights, at_most=None: 3
    if "fishers" in wanted:
        options["fishers"] = [{n: m[n].abs().float() for n in ("w", "z") if n in m} for m in models]
    if "objective" in wanted:
        options["objective"] = Bowl()
    scores = [3 if judge is None else judge(model) for model in models]
    ingredients = [
        Ingredient(f"{i}", model, math.nan if errors is None else errors)
        for i, (model, errors) in enumerate(zip(models, scores, strict=True))
    ]
    if name == "radin":
        options["predictions"] = OfAverages(ingredients, options["judge"])
    return RECIPES[name](ingredients, **options)


def drawn(seed: int, *also: str) -> Model:
    torch.manual_seed(seed)
    numbers = torch.randn(4, 4)
    every = {
        "w": torch.randn(3, 5),
        "mask": torch.zeros(4, 4).masked_fill(TRIANGLE, -math.inf),
        "mask of 4 dimensions": torch.zeros(1, 1, 4, 4).masked_fill(TRIANGLE, math.inf),
        "mask of none": torch.tensor(-math.inf),
        "half": torch.full((2, 3), -math.inf).half(),
        "bias": numbers.masked_fill(TRIANGLE, -math.inf),  # trained where it is no mask
        "z": torch.complex(torch.randn(2, 3), torch.randn(2, 3)),
        "steps": torch.tensor(3),
    }
    return {name: every[name] for name in also or every}


@pytest.mark.parametrize("name", RECIPES)
def test_a_mask_stays_the_mask_whatever_a_recipe_does_with_numbers(name: str) -> None:
    base, *models = (drawn(seed) for seed in range(3))
    weights = cook(name, models, base).weights
    for tensor in weights:
        if "mask" in tensor or tensor == "half":
            assert torch.equal(weights[tensor], base[tensor]), tensor
    assert torch.equal(weights["bias"] == -math.inf, TRIANGLE)
    assert weights["bias"][~TRIANGLE].isfinite().all()
    numbers = {"w": base["w"].clone(), "bias": base["bias"].masked_fill(TRIANGLE, 0.0)}
    rest = [m | {"bias": m["bias"].masked_fill(TRIANGLE, 0.0)} for m in models]
    plain = cook(name, rest, drawn(0) | numbers).weights
    if name not in {"learned", "mehl", "ties", "dare"}:  # these see more than a tensor
        torch.testing.assert_close(weights["bias"][~TRIANGLE], plain["bias"][~TRIANGLE])


@pytest.mark.parametrize("name", ["interpolate", "task", "slerp", "stock"])
def test_an_infinity_that_not_all_models_share_is_no_mask(name: str) -> None:
    base, *models = ({"w": drawn(seed)["w"], "table": drawn(seed)["mask"]} for seed in range(3))
    models[1]["table"] = models[1]["table"].clone()
    models[1]["table"][3, 0] = -math.inf
    with pytest.raises(NotFinite, match="model 2: table has 1 NaN or infinite of 16 numbers"):
        cook(name, models, base)


def test_weights_of_both_signs_leave_a_mask_alone(tmp_path: Path) -> None:
    models = [drawn(seed, "w", "mask", "bias") for seed in range(2)]
    for number, model in enumerate(models):
        save(model, tmp_path / str(number))
    for pool in (models, [Checkpoint(tmp_path / "0"), Checkpoint(tmp_path / "1")]):
        found = soup.average(pool, [3, -1])
        assert torch.equal(found["mask"], models[0]["mask"])
        wanted = (3 * models[0]["bias"].double() - models[1]["bias"].double()) / 2
        assert torch.equal(found["bias"][~TRIANGLE], wanted.float()[~TRIANGLE])
        assert (found["bias"][TRIANGLE] == -math.inf).all()


OTHERS = {"learned", "mehl", "dare", "fisher", "monosoup"}
ELEMENTWISE = [name for name in RECIPES if name not in OTHERS]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_complex_tensor_is_merged_as_its_real_and_imaginary_parts(name: str) -> None:
    base, *models = (drawn(seed, "z") for seed in range(3))
    parts = [{"z": torch.view_as_real(model["z"])} for model in (base, *models)]
    found = cook(name, models, base).weights["z"]
    wanted = cook(name, parts[1:], parts[0]).weights["z"]
    assert torch.equal(torch.view_as_real(found), wanted)


def test_a_complex_number_is_dropped_and_weighed_as_one() -> None:
    base, *models = (drawn(seed, "z") for seed in range(3))
    alone = RECIPES["dare"]([Ingredient("a", models[0], 1)], base=base, drop=0.5, scale=1.0)
    same = torch.view_as_real(alone.weights["z"]) == torch.view_as_real(base["z"])
    assert torch.equal(same[..., 0], same[..., 1])
    assert same.any()
    assert not same.all()
    fishers = [{"z": model["z"].abs()} for model in models]
    pool = [Ingredient(f"{i}", model, 1) for i, model in enumerate(models)]
    found = RECIPES["fisher"](pool, fishers).weights["z"]
    f, g = (fisher["z"].double() for fisher in fishers)
    wanted = (f * models[0]["z"] + g * models[1]["z"]) / (f + g)
    torch.testing.assert_close(found, wanted.to(torch.complex64))


@pytest.mark.parametrize("name", RECIPES)
def test_float16_is_cast_to_float32_with_one_rounding(name: str, tmp_path: Path) -> None:
    base, *models = ({"w": drawn(seed, "w")["w"].half()} for seed in range(3))
    wide = [{"w": model["w"].float()} for model in (base, *models)]
    for number, model in enumerate([base, *models]):
        save(model, tmp_path / str(number))
    files = [Checkpoint(tmp_path / str(number)) for number in range(3)]
    found = cook(name, files[1:], files[0]).weights
    wanted = materialize(cook(name, wide[1:], wide[0]).weights)["w"]
    assert torch.equal(cast(found, torch.float32)["w"], wanted)
    save(found, tmp_path / "wide", dtype=torch.float32)
    assert torch.equal(Checkpoint(tmp_path / "wide")["w"], wanted)
    assert torch.equal(found["w"], wanted.half()) or name == "dare"


@pytest.mark.parametrize("differ", [0.0, 1.0], ids=["same", "different"])
@pytest.mark.parametrize("name", RECIPES)
def test_a_number_beyond_a_narrower_dtype_is_named_and_no_infinity(
    name: str, tmp_path: Path, differ: float
) -> None:
    for seed in range(3):
        large = torch.full((2, 4), 1e5 + differ * seed)
        save(drawn(seed, "w", "mask") | {"bn.running_var": large}, tmp_path / str(seed))
    base, *models = (Checkpoint(tmp_path / str(seed)) for seed in range(3))
    made = cook(name, models, base).weights
    save(made, tmp_path / "wide", dtype=torch.bfloat16)
    assert torch.equal(Checkpoint(tmp_path / "wide")["mask"], base["mask"].bfloat16())
    with pytest.raises(NotFinite, match=r"bn.running_var: the result is too large for torch.float"):
        save(made, tmp_path / "soup", dtype=torch.float16)
    assert not (tmp_path / "soup").exists()


def test_so_is_a_statistic_that_was_recomputed(tmp_path: Path) -> None:
    save(drawn(0, "w"), tmp_path / "a")
    made = replaced(soup.average([Checkpoint(tmp_path / "a")]), {"bn.running_var": torch.ones(2)})
    assert cast(made, torch.float16)["bn.running_var"].dtype == torch.float16
    large = replaced(made, {"bn.running_var": torch.full((2,), 1e5)})
    with pytest.raises(NotFinite, match=r"bn.running_var: the result is too large for torch.float"):
        cast(large, torch.float16)


def every_number(weights: Weights, at_most: float | None = None) -> float:
    """A judge that reads each name of a tied tensor."""
    return sum(float(weights[n].abs().double().sum()) * i for i, n in enumerate(sorted(weights)))


@pytest.mark.parametrize("in_files", [True, False], ids=["files", "memory"])
@pytest.mark.parametrize("name", [*RECIPES, "LiNeS"])
def test_the_names_of_a_tied_tensor_hold_the_same_and_what_is_judged_is_written(
    name: str, tmp_path: Path, in_files: bool
) -> None:
    pool: list[Weights] = []
    for seed in range(3):
        w, *blocks = (drawn(seed + at, "w")["w"] for at in (0, 10, 20))
        tied = {"embed.weight": w, "blocks.0.w": blocks[0], "blocks.1.w": blocks[1]}
        pool.append(tied | {"lm_head.weight": w, "w": w})  # of Fisher information, one name's
        if in_files:
            save(pool[-1], tmp_path / str(seed))
            pool[-1] = Checkpoint(tmp_path / str(seed))
    recipe, options = (name, {}) if name in RECIPES else ("interpolate", {"deep": 1.0})
    found = cook(recipe, pool[1:], pool[0], every_number, **options)
    assert isinstance(found.weights, dict) != in_files
    assert found.weights["embed.weight"].any()
    assert torch.equal(found.weights["embed.weight"], found.weights["lm_head.weight"])
    assert torch.equal(found.weights["embed.weight"], found.weights["w"])
    save(found.weights, tmp_path / "soup")
    written = Checkpoint(tmp_path / "soup")
    assert len({spec.tied for spec in written.specs.values()}) == 3
    assert found.errors == every_number(written)


class Recomputing:
    """A judge that gives every candidate the same statistics."""

    def __call__(self, weights: Weights, at_most: float | None = None) -> int:
        return 3

    def recalibrated(self, weights: Weights) -> Weights:
        return replaced(weights, {"bn.running_mean": torch.ones(3, dtype=torch.float16)})


def test_a_soup_with_statistics_of_its_own_is_cast_once_and_keeps_its_ties(tmp_path: Path) -> None:
    models = []
    for number in range(3):
        half = drawn(number, "w")["w"].half()
        models.append({"bn.running_mean": half[:, 0], "embed": half, "head": half})
        save(models[-1], tmp_path / str(number))
    pool = [Ingredient(f"{n}", Checkpoint(tmp_path / f"{n}"), 3) for n in range(3)]
    made = RECIPES["greedy"](pool, Recomputing()).weights
    save(made, tmp_path / "soup", dtype=torch.float32)
    found = Checkpoint(tmp_path / "soup")
    wanted = torch.stack([m["head"].double() for m in models]).mean(dim=0).float()
    assert torch.equal(found["embed"], wanted)
    assert torch.equal(found["bn.running_mean"], torch.ones(3))
    assert found.specs["head"].tied == "embed"


def test_a_tied_tensor_is_replaced_under_all_its_names(tmp_path: Path) -> None:
    save({"embed": torch.ones(3), "head": (ones := torch.ones(3)), "tail": ones}, tmp_path / "a")
    made = replaced(soup.average([Checkpoint(tmp_path / "a")]), {"head": torch.zeros(3)})
    assert not made["head"].any()
    assert not made["tail"].any()
    assert made["embed"].all()


@pytest.mark.parametrize("name", ["uniform", "greedy", "task", "slerp"])
def test_parameters_leave_no_graph_behind(name: str) -> None:
    base, *models = (dict(nn.Linear(3, 2).named_parameters()) for _ in range(3))
    for tensor in cook(name, models, base).weights.values():
        assert tensor.grad_fn is None
        assert not tensor.requires_grad


def test_a_soup_and_an_ingredient_print_in_a_line() -> None:
    models = [drawn(seed) for seed in range(2)]
    made = cook("greedy", models, {})
    assert repr(made) == "Soup(kept=('0', '1'), errors=3)"
    assert repr(Ingredient("a", models[0], 2)) == "Ingredient(name='a', errors=2)"
