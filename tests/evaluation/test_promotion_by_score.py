"""The champion moves by the score that soups are chosen by, on the same held-out texts."""

import base64
import zlib
from typing import NoReturn

import numpy as np
import pytest
from sklearn.metrics import f1_score, matthews_corrcoef

from soup.evaluation.answers_tag import LONGEST, packed_answers, unpacked_answers
from soup.evaluation.count_tests import Answers, compare
from soup.evaluation.metrics import mcnemar
from soup.evaluation.promotion_gate import Decision, Scored, scored
from soup.evaluation.score_gate import decide_by_score, decide_from_tags
from soup.evaluation.scores import f1_accuracy, macro_f1, matthews

LABELS = np.array([1] * 80 + [0] * 20)


def unasked() -> Answers:
    raise AssertionError("both were scored on one held-out set")


def one(number: str, wrong: list[int], split: str = "s", labels: np.ndarray = LABELS) -> Scored:
    answers = labels.copy()
    answers[wrong] = 1 - answers[wrong]
    return Scored(number, split, answers == labels, answers=Answers(labels, answers))


# More errors, but of the common class only: a higher correlation.
SPREAD, RARE = [*range(12)], [*range(85, 95)]


def test_fewer_errors_do_not_promote_where_the_score_is_lower() -> None:
    few, many = one("2", RARE), one("1", SPREAD)
    assert few.correct.sum() > many.correct.sum()
    decision = decide_by_score("matthews", matthews, few, many, unasked)
    assert not decision.promote
    decision = decide_by_score("matthews", matthews, one("2", SPREAD), one("1", RARE), unasked)
    assert decision.promote


@pytest.mark.parametrize("name", ["matthews", "f1", "f1-accuracy"])
def test_the_figures_are_those_of_scikit_learn_and_p_that_of_the_permutation_test(
    name: str,
) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    ours, theirs = (np.where(rng.random(300) < p, labels, 1 - labels) for p in (0.9, 0.7))

    def expected(answers: np.ndarray) -> float:
        if name == "matthews":
            return matthews_corrcoef(labels, answers)
        if name == "f1":
            return f1_score(labels, answers, average="macro")
        return (f1_score(labels, answers, pos_label=0) + (labels == answers).mean()) / 2

    score = {"matthews": matthews, "f1": macro_f1, "f1-accuracy": f1_accuracy(0)}[name]
    a, b = Answers(labels, ours), Answers(labels, theirs)
    decision = decide_by_score(
        name,
        score,
        Scored("2", "s", None, answers=a),
        Scored("1", "s", None, answers=b),
        unasked,
    )
    p = compare(score, [a], [b], 2, 100, 0.95, 0).p_value
    assert p != mcnemar(ours == labels, theirs == labels)
    assert decision == Decision(
        True,
        f"held-out {name} (times 100) of {100 * expected(ours):.2f} against "
        f"{100 * expected(theirs):.2f} of champion 1, on 300 (p = {p:.2g}, permutation test)",
    )
    assert decision.p == p


def test_the_same_answers_do_not_promote() -> None:
    assert not decide_by_score("matthews", matthews, one("2", [3]), one("1", [4]), unasked).promote


@pytest.mark.parametrize(
    ("largest_p", "promote", "end"),
    [(1.0, True, ", within noise"), (0.05, False, ": p is above the largest allowed, 0.05")],
)
def test_the_gate_asks_for_evidence_where_it_is_told_to(
    largest_p: float, promote: bool, end: str
) -> None:
    decision = decide_by_score(
        "matthews", matthews, one("2", [3]), one("1", [3, 4]), unasked, largest_p
    )
    assert decision.promote == promote
    assert decision.reason.endswith(end)


@pytest.mark.parametrize("known", ["other split", "no answers", "other labels"])
def test_a_champion_without_answers_to_these_texts_is_asked_again(known: str) -> None:
    champion = {
        "other split": one("1", [1], "old"),
        "no answers": Scored("1", "s", None),
        "other labels": one("1", [1], labels=1 - LABELS),
    }[known]
    asked = one("1", [*range(85, 95)]).answers
    decision = decide_by_score("matthews", matthews, one("2", [1]), champion, lambda: asked)
    assert decision.promote
    refused = decide_by_score("matthews", matthews, one("2", [1]), champion, lambda: None)
    assert refused.reason == "champion 1 knows other classes: promote it by hand if meant"


def test_a_score_that_is_not_defined_promotes_nobody() -> None:
    same = np.ones(10, dtype=np.int64)
    decision = decide_by_score(
        "f1", macro_f1, one("2", [], labels=same), one("1", [], labels=same), unasked
    )
    assert decision.reason.endswith("on 10: promote it by hand if meant")
    assert not decision.promote


def test_what_was_rolled_back_and_the_first_champion_are_as_for_errors() -> None:
    first = decide_by_score("matthews", matthews, one("1", []), None, unasked)
    assert first == Decision(True, "the first champion")
    back = Scored("2", "s", None, "version 2 was rolled back by ada: wrong")
    assert not decide_by_score("matthews", matthews, back, None, unasked).promote


@pytest.mark.parametrize("classes", [2, 3, 1000])
def test_answers_come_back_from_a_tag(classes: int) -> None:
    rng = np.random.default_rng(0)
    given = Answers(rng.integers(0, classes, 2000), rng.integers(-1, classes, 2000))
    text = packed_answers(given)
    assert len(text) < 12_000
    back = scored("1", {"split": "s", "answers": text}).answers
    assert back is not None
    np.testing.assert_array_equal(back.labels, given.labels)
    np.testing.assert_array_equal(back.answers, given.answers)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2:",
        "2:!!",
        "x:" + encoded(zlib.compress(bytes(8))),
        "-2:" + encoded(zlib.compress(bytes(8))),
        "3:" + encoded(zlib.compress(bytes(8))),
        "1:" + encoded(zlib.compress(bytes(8))),
        "2:" + encoded(zlib.compress(bytes(8))[:-5]),
        "2000000:" + encoded(zlib.compress(bytes(8))),
    ],
)
def test_damaged_answers_are_not_known(text: str) -> None:
    assert unpacked_answers(text) is None


def test_answers_that_no_tag_can_hold_are_left_out() -> None:
    rng = np.random.default_rng(0)
    many = rng.integers(0, 60_000, 30_000)
    assert packed_answers(Answers(many, many[::-1])) == ""
    assert packed_answers(Answers(np.array([70_000]), np.array([0]))) == ""
    assert 0 < len(packed_answers(Answers(many[:10_000], many[10_000:20_000]))) <= LONGEST


class Unknown(Exception):
    """Raised where tags do not say enough."""


def unknown() -> NoReturn:
    raise Unknown


def test_tags_alone_decide_by_the_score_that_they_name() -> None:
    tags = {"score": "matthews", "positive": "1"}
    better, worse = one("2", SPREAD), one("1", RARE)
    assert decide_from_tags(tags, better, worse, unknown).promote
    assert not decide_from_tags({}, better, worse, unknown).promote  # by errors
    assert decide_from_tags({"score": "pearson"}, better, None, unknown).promote  # the first
    with pytest.raises(Unknown):
        decide_from_tags(tags, Scored("2", "s", better.correct), worse, unknown)
    with pytest.raises(Unknown):
        decide_from_tags(tags, better, Scored("1", "s", worse.correct), unknown)
    with pytest.raises(ValueError, match=r"the tag 'score' or 'positive' is damaged: no score, 1"):
        decide_from_tags({"score": "no score"}, better, worse, unknown)
