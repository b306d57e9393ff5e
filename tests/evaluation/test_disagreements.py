"""Examples that one of two models alone answers rightly."""

import numpy as np
import pytest
from scipy.special import softmax

from soup.evaluation.disagreements import Opinion, answer_name, mended, opinion
from soup.evaluation.targets import Targets, among_present

LABELS = np.array([0, 1, 2, 1])


def test_an_opinion_is_of_the_split_s_answers() -> None:
    logits = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float16)
    seen = opinion(logits, among_present("test", np.array([0, 3, 4, 3])))
    own = softmax(logits[:, [0, 3, 4]].astype(np.float64), axis=1)
    np.testing.assert_allclose(seen.probability, own[range(4), LABELS])
    np.testing.assert_array_equal(seen.answers, own.argmax(axis=1))
    np.testing.assert_array_equal(seen.right, own.argmax(axis=1) == LABELS)


def test_infinite_and_missing_predictions_have_probabilities() -> None:
    inf, nan = np.inf, np.nan
    logits = np.array([[inf, 0, 0], [nan, 9, 0], [-inf, -inf, -inf], [0, inf, inf]])
    seen = opinion(logits, among_present("test", LABELS))
    np.testing.assert_allclose(seen.probability, [1, 0, 0, 0.5])
    assert seen.answers.tolist() == [0, -1, -1, 1]


def test_several_right_labels_are_added_and_grouped_classes_are_one_answer() -> None:
    target = Targets("test", ((0,), (1, 2), (3,)), np.array([[1, 2], [0, -1]]))
    logits = np.log(np.array([[0.2, 0.3, 0.1, 0.4], [0.5, 0.1, 0.2, 0.2]]))
    seen = opinion(logits, target)
    np.testing.assert_allclose(seen.probability, [0.7 / 0.9, 0.5 / 0.9])
    names = ["cat", "van", "bus", "dog"]
    assert [answer_name(target, a, names) for a in (0, 1, -1)] == ["cat", "van / bus", "none"]


def of(right: list[int], probability: list[float]) -> Opinion:
    return Opinion(np.zeros(4, np.int64), np.array(right, bool), np.array(probability))


@pytest.mark.parametrize(("most", "chosen"), [(1, [3]), (9, [3, 1])])
def test_the_largest_margins_come_first(most: int, chosen: list[int]) -> None:
    soup = of([1, 1, 0, 1], [0.9, 0.6, 0.1, 0.8])
    single = of([1, 0, 1, 0], [0.1, 0.4, 0.9, 0.3])
    assert [each.example for each in mended(soup, single, most)] == chosen
    assert mended(soup, single, 1)[0].margin == pytest.approx(0.5)
    assert [each.example for each in mended(single, soup, most)] == [2]


def test_of_equal_margins_the_first_examples_are_taken() -> None:
    soup, single = of([1, 1, 1, 1], [0.6] * 4), of([0, 0, 0, 0], [0.4] * 4)
    assert [each.example for each in mended(soup, single, 3)] == [0, 1, 2]
