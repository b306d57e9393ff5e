"""Recipes that recompute BatchNorm statistics: as in the paper, with a plain loop a candidate."""

from collections.abc import Callable, Mapping
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import soup
from soup.evaluation.heldout_loss import HeldoutLoss
from soup.evaluation.judges import ErrorJudge, ScoreJudge
from soup.models.batchnorm import Recalibration
from soup.recipes.ingredient import Ingredient, Soup
from soup.recipes.learned import learned
from soup.recipes.parallel_greedy import parallel_greedy
from soup.recipes.wise_ft import interpolate
from tests import reference

Model = dict[str, Tensor]
BLOCKS = (0, 3)  # a linear layer, its BatchNorm after it, and a ReLU
HEAD = 6
BATCH = 20


def network() -> nn.Sequential:
    blocks = [[nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU()] for _ in BLOCKS]
    return nn.Sequential(*blocks[0], *blocks[1], nn.Linear(6, 3)).double()


def drawn(seed: int, count: int) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)).double()


TRAIN = drawn(1, 70)  # in batches of 18, 18, 17 and 17
INPUTS = drawn(2, 90)


def forward(model: Model, inputs: Tensor, sums: dict[str, Tensor] | None = None) -> Tensor:
    """The logits by hand; with `sums`, by each batch's own statistics, which are added up."""
    x = inputs
    for block in BLOCKS:
        x = x @ model[f"{block}.weight"].T + model[f"{block}.bias"]
        norm, n = f"{block + 1}", len(x)
        mean, var = model[f"{norm}.running_mean"], model[f"{norm}.running_var"]
        if sums is not None:
            mean = x.sum(0) / n
            squares = ((x - mean) ** 2).sum(0)
            var = squares / n
            for key, value in (("running_mean", mean), ("running_var", squares / (n - 1))):
                sums[f"{norm}.{key}"] = sums.get(f"{norm}.{key}", 0) + n * value / len(TRAIN)
        x = (x - mean) / (var + 1e-5).sqrt() * model[f"{norm}.weight"] + model[f"{norm}.bias"]
        x = x.clamp(min=0)
    return x @ model[f"{HEAD}.weight"].T + model[f"{HEAD}.bias"]


def recalibrated(model: Mapping[str, Tensor]) -> Model:
    """The definition: for each batch of training inputs, the statistics of each layer's input."""
    sums: dict[str, Tensor] = {}
    for batch in (TRAIN[:18], TRAIN[18:36], TRAIN[36:53], TRAIN[53:]):
        forward(dict(model), batch, sums)
    counts = {f"{block + 1}.num_batches_tracked": torch.tensor(4) for block in BLOCKS}
    return {**model, **sums, **counts}


torch.manual_seed(0)
TEACHER = recalibrated(network().state_dict())
LABELS = forward(TEACHER, INPUTS).argmax(1)


def finetunes(count: int = 5) -> list[Ingredient]:
    """Models around the teacher, each with its own statistics."""
    ingredients = []
    for index in range(count):
        rng = torch.Generator().manual_seed(index)
        noisy = {
            name: t + 0.35 * torch.randn(t.shape, generator=rng) if t.is_floating_point() else t
            for name, t in TEACHER.items()
        }
        # Each has units of another scale, which its own statistics make up for.
        for block in BLOCKS:
            scale = torch.exp(2.0 * torch.randn(6, generator=rng)).double()
            noisy[f"{block}.weight"] *= scale[:, None]
            noisy[f"{block}.bias"] *= scale
        model = recalibrated(noisy)
        errors = int((forward(model, INPUTS).argmax(1) != LABELS).sum())
        ingredients.append(Ingredient(f"m{index}", model, errors))
    return ingredients


INGREDIENTS = finetunes()


def errors_of(model: Mapping[str, Tensor]) -> int:
    """Errors with the statistics that the model has."""
    return int((forward(dict(model), INPUTS).argmax(1) != LABELS).sum())


def recalibration() -> Recalibration:
    return Recalibration(TRAIN, batch_size=BATCH)


def judge(recomputing: bool = True) -> ErrorJudge:
    right = [(forward(dict(i.weights), INPUTS).argmax(1) == LABELS).numpy() for i in INGREDIENTS]
    statistics = recalibration() if recomputing else None
    return ErrorJudge(network(), INPUTS, LABELS, right, batch_size=8, recalibration=statistics)


def accuracy(model: Model, recomputing: bool = True) -> float:
    """What the literal recipes are given: recomputed before each candidate is judged."""
    return 1 - errors_of(recalibrated(model) if recomputing else model) / len(LABELS)


CANDIDATES = [
    reference.Candidate(i.name, dict(i.weights), 1 - i.errors / len(LABELS)) for i in INGREDIENTS
]


@pytest.mark.parametrize("recomputing", [True, False])
def test_greedy_is_recipe_1_with_statistics_recomputed_for_each_candidate(
    recomputing: bool,
) -> None:
    """Early rejection by the judge, full passes by the reference."""
    found = soup.greedy(INGREDIENTS, judge(recomputing))
    kept, model, tried = reference.greedy_soup(
        CANDIDATES, partial(accuracy, recomputing=recomputing)
    )
    assert list(found.kept) == kept
    assert [trial.kept for trial in found.trace] == [trial.kept for trial in tried]
    for trial, told in zip(found.trace, tried, strict=True):
        assert trial.errors is None or trial.errors == round((1 - told.accuracy) * len(LABELS))
    expected = recalibrated(model) if recomputing and len(kept) > 1 else model
    for name, tensor in found.weights.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-9, atol=1e-9)


def test_averaged_statistics_make_a_good_average_look_bad() -> None:
    """The mirror's mean with the best model is the best model, seen through other units."""
    best = Ingredient("teacher", TEACHER, 0)
    mirror = {**best.weights, "0.weight": -0.5 * best.weights["0.weight"]}
    mirror = recalibrated(mirror | {"0.bias": -0.5 * best.weights["0.bias"]})
    both = [best, Ingredient("mirror", mirror, len(LABELS))]
    found = soup.greedy(both, judge())
    assert (found.kept, found.errors) == (("teacher", "mirror"), 0)
    assert soup.greedy(both, judge(recomputing=False)).kept == ("teacher",)


REFERENCES: Mapping[str, Callable[..., tuple[list[str], Model]]] = {
    "pruned": lambda judged: reference.pruned_soup(CANDIDATES, judged)[:2],
    "removal": lambda judged: reference.soup_with_removal(CANDIDATES, judged)[:2],
    "repetition": lambda judged: reference.soup_with_repetition(CANDIDATES, judged)[:2],
}


@pytest.mark.parametrize("recipe", REFERENCES)
def test_the_other_searches_judge_recomputed_candidates_too(recipe: str) -> None:
    kept, model = REFERENCES[recipe](accuracy)
    found = soup.RECIPES[recipe](INGREDIENTS, judge())
    assert sorted(found.kept) == sorted(kept)
    expected = recalibrated(model)
    for name, tensor in found.weights.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-9, atol=1e-9)


def score(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) != labels).sum())


def objective() -> HeldoutLoss:
    return HeldoutLoss(network(), INPUTS, LABELS, batch_size=30, recalibration=recalibration())


BASE = {n: 0.9 * t if t.is_floating_point() else t for n, t in INGREDIENTS[0].weights.items()}
MAKERS: Mapping[str, Callable[[], Soup]] = {
    "greedy": lambda: soup.greedy(INGREDIENTS, judge()),
    "greedy on two devices": lambda: parallel_greedy(INGREDIENTS, [judge(), judge()]),
    "greedy by a score": lambda: soup.greedy(
        INGREDIENTS,
        ScoreJudge(network(), INPUTS, LABELS, score, recalibration=recalibration()),
    ),
    "removal": lambda: soup.RECIPES["removal"](INGREDIENTS, judge()),
    "repetition": lambda: soup.RECIPES["repetition"](INGREDIENTS, judge()),
    "pruned": lambda: soup.RECIPES["pruned"](INGREDIENTS, judge()),
    "uniform": lambda: soup.uniform(INGREDIENTS, judge()),
    "learned": lambda: learned(INGREDIENTS, objective(), judge(), epochs=2),
    "interpolate": lambda: interpolate(INGREDIENTS, BASE, judge()),
}


@pytest.mark.parametrize("made_by", MAKERS)
def test_a_soup_has_the_statistics_it_was_judged_with(made_by: str) -> None:
    found = MAKERS[made_by]()
    assert found.errors == errors_of(found.weights)
    assert len(set(found.kept)) > 1
    plain = recalibrated(found.weights)
    for name, tensor in found.weights.items():
        torch.testing.assert_close(tensor, plain[name], rtol=1e-9, atol=1e-9)


def test_early_rejection_decides_as_a_full_pass() -> None:
    early, full = judge(), judge()
    models = [soup.average([a.weights, b.weights]) for a in INGREDIENTS for b in INGREDIENTS]
    for model in models:
        errors = full(model)
        assert errors == errors_of(recalibrated(model))
        for at_most in (errors - 1, errors, errors + 1):
            assert early(model, at_most) == (None if errors > at_most else errors)


def test_a_judge_without_it_touches_nothing_and_gives_the_same_bits() -> None:
    plain = judge(recomputing=False)
    weights = INGREDIENTS[0].weights
    assert plain.recalibrated(weights) is weights
    found = soup.greedy(INGREDIENTS[:2], plain)
    members = [i.weights for i in INGREDIENTS if i.name in found.kept]
    expected = soup.average(members)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.weights.items())


def test_a_single_model_that_greedy_keeps_is_as_it_was() -> None:
    best = min(INGREDIENTS, key=lambda i: i.errors)
    found = soup.greedy([best], judge())
    assert all(torch.equal(t, best.weights[name]) for name, t in found.weights.items())


def test_the_learned_loss_and_its_gradients_are_those_of_the_recomputed_model() -> None:
    batch = torch.arange(30)
    mean = soup.average([i.weights for i in INGREDIENTS[:2]])
    found = objective()(mean, 1.3, batch)
    leaf = {
        name: tensor.clone().requires_grad_(tensor.is_floating_point())
        for name, tensor in recalibrated(mean).items()
    }
    loss = functional.cross_entropy(1.3 * forward(leaf, INPUTS[batch]), LABELS[batch])
    loss.backward()
    assert found.loss == pytest.approx(loss.item(), rel=1e-6)  # beta is float32
    for name, gradient in found.weights.items():
        torch.testing.assert_close(gradient, leaf[name].grad, rtol=1e-5, atol=1e-8)


def test_what_it_cost_is_told() -> None:
    statistics = recalibration()
    counted = ErrorJudge(network(), INPUTS, LABELS, recalibration=statistics)
    soup.greedy(INGREDIENTS, counted)
    assert statistics.models == len(INGREDIENTS)  # each but the first, and the soup
    assert f"recomputed {len(INGREDIENTS)} times on 70 training images: " in str(statistics)


def test_the_ingredients_are_not_changed() -> None:
    for one, other in zip(finetunes(), INGREDIENTS, strict=True):
        assert all(torch.equal(t, other.weights[name]) for name, t in one.weights.items())
