"""Warnings about scores too low to believe, on answers made for them."""

import numpy as np
import pytest

from soup.evaluation.diagnosis.low_scores import Answers, low_scores, recorded


def noisy(right: np.ndarray, classes: int, accuracy: float, seed: int = 0) -> np.ndarray:
    """Answers of which a share are as given, and the others drawn at random."""
    rng = np.random.default_rng(seed)
    return np.where(
        rng.random(len(right)) < accuracy, right, rng.integers(classes, size=len(right))
    )


def said(predicted: np.ndarray, labels: np.ndarray, classes: int, record: float | None = None):
    names = [str(k) for k in range(classes)]
    return low_scores({"run-1": Answers(predicted, record)}, labels, names)


@pytest.mark.parametrize("accuracy", [1.0, 0.7])
@pytest.mark.parametrize("classes", [2, 11, 12, 37, 100])
def test_classes_in_another_order_are_told(classes: int, accuracy: float) -> None:
    labels = np.repeat(np.arange(classes), 20)
    order = sorted(range(classes), key=str)  # folders sorted as text; of two classes the reverse
    position = np.argsort(order) if classes > 10 else np.arange(classes)[::-1]
    (line,) = said(noisy(position[labels], classes, accuracy), labels, classes)
    assert line.startswith("run-1 is right on ")
    assert "if the classes are exchanged: it says " in line
    assert "is the order of classes that of the training?" in line
    if classes == 12 and accuracy == 1:
        assert "right on 16.7% of 240 examples, and on 100.0%" in line
        assert "it says '2' for '10', '3' for '11', '4' for '2' and 7 more" in line


@pytest.mark.parametrize("classes", [2, 5, 50])
def test_answers_that_tell_nothing_are_told(classes: int) -> None:
    labels = np.arange(400) % classes
    (line,) = said(noisy(labels, classes, 0.0), labels, classes)
    assert "no better than chance" in line
    assert (
        "is the input (image size, crop, mean, std; tokenizer of texts) that of the training"
        in line
    )
    (line,) = said(np.full(400, 1), labels, classes)
    assert f"no better than chance ({1 / classes:.1%}): it answers '1' to 100%" in line
    (line,) = said(np.full(400, -1), labels, classes)
    assert "it answers nothing to 100%" in line
    # Most images are of one class: to say so always is nothing that was learned.
    rare = (np.arange(400) % 10 == 0).astype(np.int64)
    assert "chance (90.0%)" in said(np.zeros(400, np.int64), rare, 2)[0]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("classes", "n"), [(2, 8), (2, 400), (10, 60), (10, 400), (100, 1000)])
def test_what_a_model_has_learned_is_not_warned_of(classes: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    for accuracy in (0.5, 0.8, 1.0):
        assert said(noisy(labels, classes, accuracy, seed + 1), labels, classes) == []


def test_few_images_tell_nothing() -> None:
    labels = np.array([0, 1, 0, 1, 1, 0])
    for wrong in range(3):
        assert said(np.where(np.arange(6) < wrong, 1 - labels, labels), labels, 2) == []
    assert said(labels[:0], labels[:0], 2) == []
    assert said(labels[:1], labels[:1], 1) == []


def test_a_score_far_below_the_record_is_told() -> None:
    labels = np.arange(400) % 10
    half = np.where(np.arange(400) % 20 < 11, labels, (labels + 1) % 10)
    (line,) = said(half, labels, 10, record=0.75)
    assert line.startswith("run-1 is right on 55.0% of 400 examples, and on 75.0% by its own")
    assert said(half, labels, 10, record=0.6) == []
    assert said(half[:8], labels[:8], 10, record=0.9) == []
    assert said(labels, labels, 10, record=0.2) == []


def test_models_with_one_cause_are_told_together() -> None:
    labels = np.arange(120) % 12
    names = [str(k) for k in range(12)]
    models = {f"run-{k}": Answers(noisy(labels, 12, 0.0, k)) for k in range(6)}
    (line,) = low_scores({**models, "good": Answers(labels)}, labels, names)
    assert line.startswith("run-0, run-1, run-2, run-3 and 2 more: run-0 is right on")


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.9137", 0.9137), ("", None), ("91%", None), ("91.37", None), ("nan", None)],
)
def test_a_record_is_a_fraction(text: str, value: float | None) -> None:
    assert recorded({"accuracy": text}) == value
    assert recorded({}) is None
