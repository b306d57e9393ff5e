"""A judge that is told of which ingredients a candidate is the mean visits its errors first."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from soup.evaluation.foresight import Foresight
from soup.evaluation.judges import ErrorJudge, ScoreJudge
from soup.evaluation.metrics import Logits, Margins, margins
from soup.evaluation.scores import macro_f1
from soup.recipes import RECIPES
from soup.recipes.greedy import greedy
from soup.recipes.ingredient import Ingredient, Soup
from soup.recipes.parallel_greedy import parallel_greedy
from soup.weights import average

N, CLASSES, INPUTS = 40, 4, 3
NAMES = "abcdef"


class World:
    """Inputs, and models whose logits are linear in their weights: all that is foreseen is so."""

    def __init__(self, seed: int) -> None:
        rng = torch.Generator().manual_seed(seed)
        teacher = torch.randn(CLASSES, INPUTS, generator=rng, dtype=torch.float64)
        self.inputs = torch.randn(N, INPUTS, generator=rng, dtype=torch.float64)
        self.labels = (self.inputs @ teacher.T).argmax(1)
        self.models = {
            name: {
                "weight": teacher + torch.randn(CLASSES, INPUTS, generator=rng, dtype=torch.float64)
            }
            for name in NAMES
        }
        self.margins = {n: self.margin(weights) for n, weights in self.models.items()}

    def logits(self, weights: dict[str, Tensor]) -> Logits:
        return (self.inputs @ weights["weight"].T).numpy()

    def margin(self, weights: dict[str, Tensor]) -> Margins:
        return margins(self.logits(weights), self.labels.numpy())

    def mean(self, names: Sequence[str]) -> dict[str, Tensor]:
        return dict(average([self.models[name] for name in names]))

    def errors(self, weights: dict[str, Tensor]) -> int:
        return int((self.logits(weights).argmax(axis=1) != self.labels.numpy()).sum())

    def judge(self, known: dict[str, Margins] | None, batch: int = 4) -> ErrorJudge:
        model = nn.Linear(INPUTS, CLASSES, bias=False, dtype=torch.float64)
        right = [m > 0 for m in self.margins.values()]
        return ErrorJudge(model, self.inputs, self.labels, right, batch, margins=known)

    def ingredients(self) -> list[Ingredient]:
        return [Ingredient(n, w, self.errors(w)) for n, w in self.models.items()]


@pytest.mark.parametrize("seed", range(3))
def test_a_margin_is_how_much_the_label_exceeds_the_others(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(30, 5)).astype(np.float16), rng.integers(5, size=30)
    for found, row, label in zip(margins(logits, labels), logits, labels, strict=True):
        others = [float(value) for place, value in enumerate(row) if place != label]
        assert found == pytest.approx(float(row[label]) - max(others), abs=1e-6)
    logits[0, 0], logits[1] = np.nan, np.inf
    assert margins(logits, labels)[:2].tolist() == [-np.inf, -np.inf]


@pytest.mark.parametrize(("seed", "batch"), [(0, 1), (1, 4), (2, 9), (3, 1)])
def test_a_candidate_is_rejected_after_as_many_examples_as_it_may_get_wrong(
    seed: int, batch: int
) -> None:
    world = World(seed)
    both = world.mean("ab")
    errors = world.errors(both)
    judge = world.judge({"ab": world.margin(both)}, batch)
    for at_most in range(errors):
        judge.foresee(["ab"])
        assert judge(both, at_most) is None
        assert judge.examples_seen[-1] == min(N, -(-(at_most + 1) // batch) * batch)


@pytest.mark.parametrize(("seed", "batch"), [(0, 7), (1, 3), (2, 50)])
def test_what_is_foreseen_decides_nothing(seed: int, batch: int) -> None:
    world, rng = World(seed), np.random.default_rng(seed)
    nonsense = {name: rng.normal(size=N).astype(np.float32) for name in NAMES}
    nonsense["c"][:5] = np.nan
    judges = [world.judge(known, batch) for known in (None, world.margins, nonsense, {})]
    for names in ("ab", "abc", "f", "aab", ["a", "unknown"]):
        weights = world.mean([name for name in names if name in NAMES])
        for at_most in (None, 0, world.errors(weights) - 1, world.errors(weights), N):
            answers = []
            for judge in judges:
                judge.foresee(names)
                answers.append(judge(weights, at_most))
            assert len({*answers}) == 1
            if at_most is None or at_most >= world.errors(weights):
                assert {answers[0]} == {world.errors(weights)}
                np.testing.assert_allclose(judges[1].logits, world.logits(weights), rtol=1e-5)


@pytest.mark.parametrize("recipe", ["greedy", "pruned", "removal", "repetition"])
def test_recipes_tell_their_candidates_and_cook_the_same(recipe: str) -> None:
    examples = {"told": 0, "untold": 0}
    for seed in range(4):
        world = World(seed)
        told, untold = world.judge(world.margins), world.judge(None)
        soups = [RECIPES[recipe](world.ingredients(), judge) for judge in (told, untold)]
        assert [(t.name, t.errors, t.at_most, t.kept) for t in soups[0].trace] == [
            (t.name, t.errors, t.at_most, t.kept) for t in soups[1].trace
        ]
        assert torch.equal(soups[0].weights["weight"], soups[1].weights["weight"])
        examples["told"] += sum(told.examples_seen)
        examples["untold"] += sum(untold.examples_seen)
    assert examples["told"] < examples["untold"]


def test_several_judges_are_told_the_same() -> None:
    def cooked(world: World, judges: int) -> tuple[Soup, set[int]]:
        made = [world.judge(world.margins) for _ in range(judges)]
        soup = parallel_greedy(world.ingredients(), made)
        return soup, {seen for judge in made for seen in judge.examples_seen}

    for seed in range(4):
        world = World(seed)
        judge = world.judge(world.margins)
        one = greedy(world.ingredients(), judge)
        for judges in (1, 2, 3):
            other, seen = cooked(world, judges)
            assert other.trace == one.trace
            assert seen >= {*judge.examples_seen}


def test_what_a_soup_answered_is_the_start_of_what_is_expected_of_the_next() -> None:
    rng = np.random.default_rng(0)
    known = {name: rng.normal(size=5) for name in NAMES}
    foresight = Foresight(known)
    np.testing.assert_allclose(foresight.of("aab"), (2 * known["a"] + known["b"]) / 3)
    assert foresight.of(["a", "unknown"]) is None
    foresight.learn(rng.normal(size=5))  # of a mean that is not known
    np.testing.assert_allclose(foresight.of("ab"), (known["a"] + known["b"]) / 2)
    soup = rng.normal(size=5)
    foresight.learn(soup)
    np.testing.assert_allclose(foresight.of("abc"), (2 * soup + known["c"]) / 3)
    np.testing.assert_allclose(foresight.of("a"), 2 * soup - known["b"])
    np.testing.assert_allclose(foresight.of("ba"), soup)


def test_groups_of_texts_stay_whole_and_the_one_of_most_errors_comes_first() -> None:
    world = World(1)
    groups = [np.arange(start, N, 4) for start in range(4)]
    model = nn.Linear(INPUTS, CLASSES, bias=False, dtype=torch.float64)
    judge = ErrorJudge(
        model, world.inputs, world.labels, groups=groups, margins=dict(world.margins)
    )
    wrong = world.margins["a"] < 0
    judge.foresee("a")
    assert judge(world.models["a"], -1) is None  # after one group
    assert judge.examples_seen == [10]
    most = max(int(wrong[group].sum()) for group in groups)
    judge.foresee("a")
    assert judge(world.models["a"], most - 1) is None
    assert judge.examples_seen[-1] == 10


def test_a_score_of_counts_stops_early_too() -> None:
    world = World(2)
    model = nn.Linear(INPUTS, CLASSES, bias=False, dtype=torch.float64)
    seen = []
    for known in (dict(world.margins), {}):
        judge = ScoreJudge(model, world.inputs, world.labels, macro_f1, batch_size=1, margins=known)
        cost = judge(world.mean("ab"))
        judge.foresee("ab")
        assert cost is not None
        assert judge(world.mean("ab"), cost / 2) is None
        seen.append(judge.examples_seen[-1])
    assert seen[0] < seen[1]
