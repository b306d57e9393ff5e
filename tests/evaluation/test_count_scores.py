"""Bounds of scores that are functions of counts, against every way in which the rest may go."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
from torch import Tensor, nn

from soup.evaluation.judges import ErrorJudge, ScoreJudge
from soup.evaluation.score_bounds import CountScore
from soup.evaluation.scores import ConfusionScore, f1_accuracy, macro_f1, matthews
from soup.recipes.greedy import greedy
from soup.recipes.ingredient import Ingredient
from tests.strategies import seeds

SCORES = {"macro F1": macro_f1, "Matthews": matthews, "F1 and accuracy": f1_accuracy(0)}
REACHED = [("macro F1", 2), ("macro F1", 3), ("Matthews", 2), ("F1 and accuracy", 2)]


def logits_of(answers: list[int], classes: int) -> Tensor:
    return torch.eye(classes)[torch.tensor(answers)]


def table_of(labels: list[int], answers: list[int], classes: int) -> Tensor:
    table = torch.zeros(classes, classes + 1, dtype=torch.float64)
    for label, answer in zip(labels, answers, strict=True):
        table[label, answer] += 1
    return table


def some_seen(draw: st.DataObject, classes: int) -> tuple[list[int], list[int], list[int]]:
    """The labels, of several classes; answers to the first of them; the labels of the others."""
    kinds = st.integers(0, classes - 1)
    labels = draw.draw(st.lists(kinds, min_size=2, max_size=12))
    assume(len({*labels}) > 1)
    rest = draw.draw(st.integers(0, min(4, len(labels))))
    seen = len(labels) - rest
    answers = draw.draw(st.lists(kinds, min_size=seen, max_size=seen))
    return labels, answers, labels[seen:]


@pytest.mark.parametrize(("name", "classes"), [*REACHED, ("Matthews", 3), ("F1 and accuracy", 3)])
@given(draw=st.data())
def test_no_answers_to_the_rest_cost_less_than_the_bound(
    name: str, classes: int, draw: st.DataObject
) -> None:
    score = SCORES[name]
    labels, answers, unseen = some_seen(draw, classes)
    seen = table_of(labels[: len(answers)], answers, classes)
    least = score.least(
        seen, torch.bincount(torch.tensor(unseen, dtype=torch.long), minlength=classes)
    )
    costs = [
        score(logits_of([*answers, *rest], classes), torch.tensor(labels))
        for rest in product(range(classes), repeat=len(unseen))
    ]
    assert least <= min(costs) + 1e-12
    if (name, classes) in REACHED:
        assert least == pytest.approx(min(costs), abs=1e-12)


@given(draw=st.data())
def test_the_scores_are_those_of_scikit_learn(draw: st.DataObject) -> None:
    labels, answers, unseen = some_seen(draw, 2)
    answers = [*answers, *unseen]
    wanted = (
        accuracy_score(labels, answers) + f1_score(labels, answers, pos_label=0, zero_division=0)
    ) / 2
    logits = logits_of(answers, 2)
    assert 1 - f1_accuracy(0)(logits, torch.tensor(labels)) == pytest.approx(wanted)
    known = matthews_corrcoef(labels, answers)
    assert 1 - matthews(logits, torch.tensor(labels)) == pytest.approx(known)


def pool(seed: int, n: int, size: int) -> tuple[Tensor, Tensor, list[dict[str, Tensor]]]:
    rng = torch.Generator().manual_seed(seed)
    teacher = torch.randn(2, 5, generator=rng, dtype=torch.float64)
    inputs = torch.randn(n, 5, generator=rng, dtype=torch.float64)
    noise = torch.randn(size, 2, 5, generator=rng, dtype=torch.float64)
    labels = (inputs @ teacher.T).argmax(1)
    return inputs, labels, [{"weight": teacher + 0.6 * part} for part in noise]


def model() -> nn.Linear:
    return nn.Linear(5, 2, bias=False, dtype=torch.float64)


class Unbounded:
    """The same score, of which a judge does not know that it is one of counts."""

    def __init__(self, score: ConfusionScore) -> None:
        self.score = score

    def __call__(self, logits: Tensor, labels: Tensor) -> float:
        return self.score(logits, labels)


@pytest.mark.parametrize("name", SCORES)
@given(seed=seeds, batch_size=st.integers(1, 20), grouped=st.booleans())
def test_early_rejection_decides_as_full_passes_do(
    name: str, seed: int, batch_size: int, grouped: bool
) -> None:
    inputs, labels, weights = pool(seed, 60, 5)
    assume(len({*labels.tolist()}) == 2)
    score = SCORES[name]
    assert isinstance(score, CountScore)
    assert not isinstance(Unbounded(score), CountScore)
    right = [((inputs @ w["weight"].T).argmax(1) == labels).numpy() for w in weights]
    order = np.random.default_rng(seed).permutation(60)
    groups = np.array_split(order, max(1, 60 // batch_size)) if grouped else None
    early = ScoreJudge(model(), inputs, labels, score, batch_size, correct=right, groups=groups)
    whole = ScoreJudge(model(), inputs, labels, Unbounded(score))
    ingredients = [Ingredient(f"{i}", w, whole(w) or 0.0) for i, w in enumerate(weights)]
    cooked = [greedy(ingredients, judge) for judge in (early, whole)]
    assert cooked[0].kept == cooked[1].kept
    assert cooked[0].errors == cooked[1].errors
    assert early.logits is None or early.logits.shape == (60, 2)


def test_early_rejection_sees_fewer_examples() -> None:
    inputs, labels, weights = pool(0, 400, 2)
    bad = {"weight": -weights[0]["weight"]}
    judge = ScoreJudge(model(), inputs, labels, matthews, 20)
    assert judge(bad, at_most=0.1) is None
    assert judge.examples_seen == [40]


@given(seed=seeds, size=st.integers(1, 9))
def test_logits_come_in_the_given_order_from_given_batches(seed: int, size: int) -> None:
    inputs, labels, weights = pool(seed, 30, 3)
    right = [((inputs @ w["weight"].T).argmax(1) == labels).numpy() for w in weights]
    groups = np.array_split(np.random.default_rng(seed).permutation(30), size)
    judge = ErrorJudge(model(), inputs, labels, right, groups=groups)
    wrong = int((~right[0]).sum())
    assert judge(weights[0]) == wrong
    assert judge.logits is not None
    assert np.allclose(judge.logits, (inputs @ weights[0]["weight"].T).numpy())
    assert judge(weights[0], at_most=wrong) == wrong
    if wrong:
        assert judge(weights[0], at_most=wrong - 1) is None
    assert judge.answers[0] is not None
    assert (judge.answers[0] == right[0]).all()


def test_a_broken_model_exceeds_every_bound() -> None:
    inputs, labels, weights = pool(1, 40, 1)
    broken = {"weight": weights[0]["weight"] * math.nan}
    for score in SCORES.values():
        assert ScoreJudge(model(), inputs, labels, score)(broken, at_most=0.4) is None
