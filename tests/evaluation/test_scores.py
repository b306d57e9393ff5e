"""Scores that soups are selected by, against literal definitions and torchmetrics."""

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional import classification

from soup.evaluation.scores import COUNTS, SCORES
from tests.strategies import seeds

NAN, INF = math.nan, math.inf
ABSENT = -1


def answers(logits: Sequence[Sequence[float]]) -> list[int]:
    """The first highest logit of each row; none if a logit is NaN or none is above -inf."""
    return [
        ABSENT if any(math.isnan(x) for x in row) or max(row) == -INF else row.index(max(row))
        for row in logits
    ]


def f1(answers: Sequence[int], labels: Sequence[int]) -> float:
    """scikit-learn's macro F1: the mean over the classes in the labels or the predictions."""
    scores = []
    for one in {*labels, *answers} - {ABSENT}:
        hits = sum(a == one == label for a, label in zip(answers, labels, strict=True))
        scores.append(2 * hits / (list(answers).count(one) + list(labels).count(one)))
    return math.fsum(scores) / len(scores)


def matthews(answers: Sequence[int], labels: Sequence[int]) -> float:
    """The correlation of the indicator vectors, summed over classes."""
    n, classes = len(labels), sorted({*labels, *answers})

    def covariance(a: Sequence[int], b: Sequence[int]) -> float:
        return math.fsum(
            ((x == k) - list(a).count(k) / n) * ((y == k) - list(b).count(k) / n)
            for k in classes
            for x, y in zip(a, b, strict=True)
        )

    spread = covariance(answers, answers) * covariance(labels, labels)
    return covariance(answers, labels) / math.sqrt(spread) if spread > 1e-12 else 0.0


@given(seed=seeds, n=st.integers(2, 40), classes=st.integers(2, 6), broken=st.booleans())
def test_f1_and_matthews_are_their_definitions(
    seed: int, n: int, classes: int, broken: bool
) -> None:
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=rng)
    labels[0], labels[1] = 0, 1
    logits = torch.randn(n, classes, generator=rng).round() + torch.eye(classes)[labels]
    if broken:
        logits[torch.rand(n, generator=rng) < 0.3, 0] = NAN
        logits[torch.rand(n, generator=rng) < 0.2] = -INF
    said, right = answers(logits.tolist()), labels.tolist()
    assert 1 - SCORES["f1"](logits, labels) == pytest.approx(f1(said, right))
    assert 1 - SCORES["matthews"](logits, labels) == pytest.approx(matthews(said, right))
    if not broken and {*said} == {*range(classes)}:  # elsewhere torchmetrics has its own rules
        known = classification.multiclass_f1_score(logits, labels, classes, average="macro")
        assert 1 - SCORES["f1"](logits, labels) == pytest.approx(float(known), abs=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_f1_of_no_positives_is_not_perfect(classes: int) -> None:
    labels = torch.zeros(5, dtype=torch.int64)
    logits = torch.eye(classes)[labels]
    assert math.isnan(SCORES["f1"](logits, labels))
    assert SCORES["matthews"](logits, labels) == 1


@pytest.mark.parametrize("number", [NAN, -INF])
@pytest.mark.parametrize("labels", [[0, 0, 1], [0, 1, 0, 1], [1, 0, 2]])
def test_a_model_without_predictions_does_not_predict_class_0(
    number: float, labels: list[int]
) -> None:
    logits, wanted = torch.full((len(labels), 3), number), torch.tensor(labels)
    assert SCORES["f1"](logits, wanted) == 1
    assert SCORES["matthews"](logits, wanted) == 1
    assert COUNTS["accuracy"](logits, wanted).all()
    assert COUNTS["top5"](logits, wanted).all()


@pytest.mark.parametrize("classes", [1, 2, 3, 4, 5])
def test_every_prediction_is_among_the_first_five_of_five_classes(classes: int) -> None:
    logits = torch.randn(6, classes)
    labels = torch.arange(6) % classes
    logits[2, 0] = NAN
    assert COUNTS["top5"](logits, labels).tolist() == [False, False, True, False, False, False]


@given(seed=seeds, k=st.integers(1, 9))
def test_of_equal_logits_the_first_come_first(seed: int, k: int) -> None:
    from soup.evaluation.judges import top

    rng = torch.Generator().manual_seed(seed)
    logits = torch.randint(3, (20, 7), generator=rng).float()
    labels = torch.randint(7, (20,), generator=rng)
    expected = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        ranked = sorted(range(7), key=lambda c, row=row: (-row[c], c))
        expected.append(label not in ranked[:k])
    assert top(k)(logits, labels).tolist() == expected
