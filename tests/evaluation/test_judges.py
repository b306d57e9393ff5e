"""Judges of any torch model: errors by any rule, and scores that are no sum over examples."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from soup.evaluation.judges import ErrorJudge, ScoreJudge, top
from soup.evaluation.passes import hardest_first
from soup.recipes.greedy import greedy
from soup.recipes.ingredient import Ingredient
from tests.strategies import seeds


def exam(seed: int, n: int = 25) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Inputs, labels, and weights of a linear model that does rather well on them."""
    rng = torch.Generator().manual_seed(seed)
    teacher = torch.randn(4, 3, generator=rng, dtype=torch.float64)
    inputs = torch.randn(n, 3, generator=rng, dtype=torch.float64)
    noise = torch.randn(4, 3, generator=rng, dtype=torch.float64)
    return inputs, (inputs @ teacher.T).argmax(1), {"weight": teacher + 0.7 * noise}


def linear() -> nn.Linear:
    return nn.Linear(3, 4, bias=False, dtype=torch.float64)


@given(seed=seeds, k=st.integers(1, 4), batch_size=st.integers(1, 30))
def test_an_error_is_a_label_that_is_not_among_the_first_k(
    seed: int, k: int, batch_size: int
) -> None:
    inputs, labels, weights = exam(seed)
    ranks = np.argsort(-(inputs @ weights["weight"].T).numpy(), axis=1)
    wrong = [int(label) not in row[:k] for label, row in zip(labels, ranks, strict=True)]
    judge = ErrorJudge(linear(), inputs, labels, batch_size=batch_size, wrong=top(k))
    assert judge(weights) == sum(wrong)
    assert judge(weights, at_most=sum(wrong) - 1) is None


@given(seed=seeds, batch_size=st.integers(1, 30))
def test_answers_are_kept_in_the_order_given_whatever_the_order_of_the_visit(
    seed: int, batch_size: int
) -> None:
    inputs, labels, weights = exam(seed)
    others = [((inputs @ exam(s)[2]["weight"].T).argmax(1) == labels).numpy() for s in (1, 2, 3)]
    judge = ErrorJudge(linear(), inputs, labels, others, batch_size)
    errors = judge(weights)
    assert judge(weights, at_most=-1) is None
    right = ((inputs @ weights["weight"].T).argmax(1) == labels).numpy()
    assert judge.answers[0] is not None
    assert judge.answers[0].tolist() == right.tolist()
    assert judge.answers[1] is None
    assert errors == (~right).sum()


@given(seed=seeds, batch_size=st.integers(1, 30), allowed=st.integers(-1, 25))
def test_progress_counts_every_example_of_a_call_also_of_one_that_stops_early(
    seed: int, batch_size: int, allowed: int
) -> None:
    inputs, labels, weights = exam(seed)
    done: list[int] = []
    judge = ErrorJudge(linear(), inputs, labels, batch_size=batch_size, advance=done.append)
    for call in (1, 2):
        judge(weights, allowed)
        assert sum(done) == call * len(labels)
    score = ScoreJudge(linear(), inputs, labels, lambda *_: 0.0, batch_size, advance=done.append)
    score(weights)
    assert sum(done) == 3 * len(labels)


def test_several_labels_may_be_right() -> None:
    # As in the reassessed labels of ImageNet: a row of classes that are right.
    inputs, _, weights = exam(0)
    said = (inputs @ weights["weight"].T).argmax(1)
    allowed = torch.zeros(25, 4, dtype=torch.bool)
    allowed[torch.arange(20), said[:20]] = True

    def wrong(logits: Tensor, labels: Tensor) -> Tensor:
        return ~labels.gather(1, logits.argmax(1, keepdim=True))[:, 0]

    assert ErrorJudge(linear(), inputs, allowed, wrong=wrong)(weights) == 5


def loss(logits: Tensor, labels: Tensor) -> float:
    return float(nn.functional.cross_entropy(logits, labels))


@given(seed=seeds, batch_size=st.integers(1, 30))
def test_a_score_is_that_of_all_logits_at_once(seed: int, batch_size: int) -> None:
    inputs, labels, weights = exam(seed)
    expected = loss((inputs @ weights["weight"].T).float(), labels)
    judge = ScoreJudge(linear(), inputs, labels, loss, batch_size)
    assert judge(weights) == pytest.approx(expected)
    assert judge(weights, at_most=expected + 0.01) == pytest.approx(expected)
    assert judge(weights, at_most=expected - 0.01) is None


def test_a_score_that_is_not_a_number_exceeds_every_bound() -> None:
    inputs, labels, _ = exam(0)
    judge = ScoreJudge(linear(), inputs, labels, loss)
    nan = {"weight": torch.full((4, 3), math.nan, dtype=torch.float64)}
    assert judge(nan, at_most=1e9) is None


@pytest.mark.parametrize("tie", ["keep", "reject"])
def test_greedy_selects_by_a_loss_as_by_errors(tie: str) -> None:
    inputs, labels, _ = exam(0)
    judge = ScoreJudge(linear(), inputs, labels, loss)
    pool = [exam(0)[2], *({"weight": exam(0)[2]["weight"] * s} for s in (1.0, 1.5, 0.01))]
    ingredients = []
    for index, weights in enumerate(pool):
        cost = judge(weights)
        assert cost is not None
        ingredients.append(Ingredient(str(index), weights, cost))
    soup = greedy(ingredients, judge, tie)
    assert soup.errors == judge(soup.weights)
    assert soup.errors <= min(i.errors for i in ingredients)
    # The third is the best; the first two are the same model; a loss is no whole number.
    assert soup.kept[0] == "2"
    assert soup.trace[0].kept


def test_training_mode_is_left_and_other_names_are_refused() -> None:
    inputs, labels, weights = exam(0)
    model = nn.Sequential(nn.Dropout(0.9), linear()).train()
    inside = {"1.weight": weights["weight"]}
    plain = ErrorJudge(linear(), inputs, labels)(weights)
    assert ErrorJudge(model, inputs, labels)(inside) == plain
    with pytest.raises(RuntimeError, match=r"1\.weight"):
        ErrorJudge(model, inputs, labels)(weights)


def test_what_the_soup_gets_wrong_comes_before_what_is_hard() -> None:
    answers = np.array([[1, 0, 1, 0, 1], [1, 1, 1, 0, 0], [0, 1, 1, 0, 1]], dtype=bool)
    soup = np.array([1, 1, 0, 1, 0], dtype=bool)
    assert hardest_first(list(answers), soup).tolist() == [4, 2, 3, 0, 1]


@given(seed=seeds, batch_size=st.integers(1, 30))
def test_once_a_candidate_is_kept_its_own_errors_are_visited_first(
    seed: int, batch_size: int
) -> None:
    inputs, labels, weights = exam(seed)
    right = ((inputs @ weights["weight"].T).argmax(1) == labels).numpy()
    errors = int((~right).sum())
    # One that scored the examples got everything right, another knew nothing of the kind.
    judge = ErrorJudge(linear(), inputs, labels, [np.ones(25, bool), right[::-1]], batch_size)
    assert judge(weights, at_most=errors) == errors
    assert judge.answers[0] is not None
    assert judge.answers[0].tolist() == right.tolist()
    for at_most in range(errors):
        assert judge(weights, at_most) is None
        assert judge.examples_seen[-1] == min(25, -(-(at_most + 1) // batch_size) * batch_size)
    assert judge(weights) == errors
