"""Keys: which answers there are, what logit each has, and which is right."""

import numpy as np
import pytest

from soup.data.shifts.protocol import EvaluationProtocol
from soup.evaluation.metrics import correct, score
from soup.evaluation.targets import Targets, among_all, among_present, targets_of

CLASSES = ("ant", "bee", "cat", "dog")
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(50, 4)).astype(np.float32)


def test_a_plain_key_is_the_classes_that_the_split_has() -> None:
    labels = np.array([1, 3, 3])
    own = among_present("r", labels)
    logits = np.array([[9.0, 2, 0, 1, 0], [0, 1, 9, 2, 9], [0, 2, 0, 1, 0]])
    np.testing.assert_array_equal(own.project(logits), [[2, 1], [1, 2], [2, 1]])
    assert own.labels.tolist() == [0, 1, 1]


def test_held_out_and_test_are_answered_among_all_classes_that_a_shift_may_lack() -> None:
    """As a judge counts errors when a soup is cooked."""
    logits = np.array([[1.0, 9, 0, 0], [0, 0, 2, 1]], np.float32)
    rows = [("1.png", "ant"), ("2.png", "cat")]  # no bee, of which the first logit is the highest
    known = {"test": [False, True], "r": [True, True]}
    for split, right in known.items():
        own = targets_of(split, rows, CLASSES, EvaluationProtocol(), {})
        assert correct(own.project(logits), own.labels).tolist() == right
    heldout = among_all("heldout", np.array([0, 2]), 4)
    assert correct(heldout.project(logits), heldout.labels).tolist() == [False, True]
    numbers = np.array([1.5, 2.0], np.float32)
    assert among_all("heldout", numbers, 1) == Targets("heldout", ((0,),), numbers)


def test_figures_of_a_plain_key_are_what_they_always_were() -> None:
    """To the last bit: the figures of results that are already written."""
    from scipy.special import log_softmax

    labels = RNG.choice([0, 2, 3], size=50)
    own = among_present("r", labels)
    present, renumbered = np.unique(labels, return_inverse=True)
    before = LOGITS[:, present]
    made = own.project(LOGITS)
    assert made.dtype == before.dtype
    assert made.strides == before.strides
    np.testing.assert_array_equal(made, before)
    np.testing.assert_array_equal(correct(made, own.labels), before.argmax(axis=1) == renumbered)
    chances = log_softmax(before.astype(np.float64), axis=1)
    assert score(made, own.labels).nll == float(-chances[np.arange(50), renumbered].mean())


def test_a_groups_logit_is_its_largest() -> None:
    own = Targets("o", ((3,), (0, 2), (1,)), np.zeros(50, dtype=np.int64))
    made = own.project(LOGITS)
    for row, answers in zip(LOGITS.tolist(), made.tolist(), strict=True):
        assert answers == [row[3], max(row[0], row[2]), row[1]]


def test_a_nan_in_a_group_is_an_answer_that_is_none() -> None:
    own = Targets("o", ((0, 2), (1,)), np.array([0, 0]))
    made = own.project(np.array([[9.0, 0, np.nan, 5], [9.0, 0, 1, np.nan]]))
    assert correct(made, own.labels).tolist() == [False, True]


def test_the_labels_of_a_protocol_are_places_among_its_answers() -> None:
    protocol = EvaluationProtocol({"bee|dog": ("bee", "dog"), "ant": ("ant",)})
    rows = [("1.png", "ant"), ("2.png", "bee|dog"), ("3.png", "ant")]
    own = targets_of("o", rows, CLASSES, protocol, {})
    assert own.groups == ((1, 3), (0,))
    assert own.labels.tolist() == [1, 0, 1]
    assert own.of == "o"
    assert own.rows is None


def test_without_answers_a_protocol_is_plain() -> None:
    own = targets_of(
        "r", [("1.png", "dog"), ("2.png", "bee")], CLASSES, EvaluationProtocol(border=2), {}
    )
    assert own.groups == ((1,), (3,))
    assert own.labels.tolist() == [1, 0]


def test_several_labels_are_each_right_and_their_chances_add_up() -> None:
    protocol = EvaluationProtocol({name: (name,) for name in CLASSES}, of="test")
    rows = [("b.png", "ant|dog"), ("a.png", "cat"), ("d.png", "ant|bee|cat|dog")]
    own = targets_of(
        "real", rows, CLASSES, protocol, {"test": ["a.png", "b.png", "c.png", "d.png"]}
    )
    assert own.of == "test"
    assert own.labels.tolist() == [[0, 3, -1, -1], [2, -1, -1, -1], [0, 1, 2, 3]]
    made = own.project(LOGITS[:4])
    np.testing.assert_array_equal(made, LOGITS[[1, 0, 3]])
    tops = LOGITS[[1, 0, 3]].argmax(axis=1).tolist()
    assert correct(made, own.labels).tolist() == [tops[0] in (0, 3), tops[1] == 2, True]
    chances = np.exp(made) / np.exp(made).sum(axis=1, keepdims=True)
    likely = [chances[0, 0] + chances[0, 3], chances[1, 2], 1.0]
    assert score(made, own.labels).nll == pytest.approx(-np.log(likely).mean(), rel=1e-5)
    hit, sure = correct(made, own.labels), chances.max(axis=1)
    assert score(made, own.labels, bins=1).ece == pytest.approx(
        abs(hit.mean() - sure.mean()), rel=1e-5
    )


def test_no_answer_is_right_because_a_row_of_labels_is_short() -> None:
    made = np.array([[0.0, 0.0, 5.0]])  # -1 is not the last answer
    assert not correct(made, np.array([[0, -1]])).any()
