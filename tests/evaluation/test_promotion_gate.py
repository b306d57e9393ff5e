"""The champion moves only for what is better on the same held-out images."""

import numpy as np
import pytest

from soup.evaluation.metrics import Correct, mcnemar
from soup.evaluation.promotion_gate import MOST, Decision, Scored, decide, packed, scored, unpacked
from tests.registries import answers


def unasked() -> Correct:
    raise AssertionError("both were scored on one held-out set")


def one(number: str, wrong: int, split: str = "s") -> Scored:
    return Scored(number, split, answers(range(wrong)))


def test_the_first_version_is_the_champion() -> None:
    assert decide(one("1", 90), None, unasked) == Decision(True, "the first champion")


@pytest.mark.parametrize(("errors", "better"), [(29, True), (30, False), (31, False)])
def test_a_version_must_make_fewer_errors_than_the_champion(errors: int, better: bool) -> None:
    decision = decide(one("2", errors), one("1", 30), unasked)
    assert decision.promote == better
    told = f"{errors} held-out errors against 30 of champion 1, of 100 (right alone: "
    assert decision.reason.startswith(told)


def test_the_paired_test_is_of_the_same_images() -> None:
    rng = np.random.default_rng(3)
    ours, theirs = rng.random(400) < 0.9, rng.random(400) < 0.8
    decision = decide(Scored("2", "s", ours), Scored("1", "s", theirs), unasked)
    alone, lost = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    assert decision == Decision(
        True,
        f"{400 - ours.sum()} held-out errors against {400 - theirs.sum()} of champion 1, of 400 "
        f"(right alone: {alone} against {lost}; p = {mcnemar(ours, theirs):.2g}, exact McNemar)",
    )


@pytest.mark.parametrize(
    ("only_ours", "only_theirs", "p"),
    [(1, 0, 1), (5, 4, 1), (6, 1, 0.125), (9, 1, 0.0215), (0, 1, 1)],
)
@pytest.mark.parametrize("largest_p", [0.02, 0.05, 0.5, 1])
def test_the_gate_asks_for_evidence_where_it_is_told_to(
    only_ours: int, only_theirs: int, p: float, largest_p: float
) -> None:
    differing = only_ours + only_theirs
    assert mcnemar(*pair(only_ours, only_theirs)) == pytest.approx(p, abs=1e-4)
    ours, theirs = pair(only_ours, only_theirs)
    decision = decide(Scored("2", "s", ours), Scored("1", "s", theirs), unasked, largest_p)
    assert decision.promote == (only_ours > only_theirs and p <= largest_p)
    assert decision.p == mcnemar(ours, theirs)
    refused = only_ours > only_theirs and not decision.promote
    assert (f": p is above the largest allowed, {largest_p:g}" in decision.reason) == refused
    assert decision.reason.endswith(", within noise") == (decision.promote and p >= 0.05)
    assert f"of {differing + 50} (right alone: {only_ours} against" in decision.reason


def pair(only_ours: int, only_theirs: int) -> tuple[Correct, Correct]:
    counts = [only_ours, only_theirs, 50]
    return np.repeat([True, False, True], counts), np.repeat([False, True, True], counts)


@pytest.mark.parametrize(("rescored", "better"), [(51, True), (50, False), (49, False)])
@pytest.mark.parametrize("split", ["old", "new"])
def test_a_champion_known_on_other_images_only_is_scored_again(
    rescored: int, better: bool, split: str
) -> None:
    known = answers(range(10)) if split == "old" else None
    decision = decide(
        one("2", 50, "new"), Scored("1", split, known), lambda: answers(range(rescored))
    )
    assert decision.promote == better
    assert decision.reason.startswith(f"50 held-out errors against {rescored} of champion 1")


def test_a_champion_of_other_classes_is_not_replaced_without_a_person() -> None:
    decision = decide(one("2", 0, "new"), one("1", 10, "old"), lambda: None)
    assert decision == Decision(
        False, "champion 1 knows other classes: promote it by hand if meant"
    )


def test_the_champion_is_not_compared_with_itself() -> None:
    same = one("3", 10)
    assert decide(same, same, unasked) == Decision(False, "version 3 is the champion already")


@pytest.mark.parametrize("champion", [one("1", 30), None])
def test_what_was_rolled_back_does_not_come_back_by_itself(champion: Scored | None) -> None:
    back = Scored("2", "s", answers([]), "version 2 was rolled back by ada: wrong at night")
    assert decide(back, champion, unasked) == Decision(
        False, "version 2 was rolled back by ada: wrong at night: promote it by hand if meant"
    )


@pytest.mark.parametrize("n", [1, 7, 8, 9, 1000])
def test_answers_come_back_from_a_tag(n: int) -> None:
    right = np.random.default_rng(n).random(n) < 0.5
    text = packed(right)
    assert len(text) < n / 5 + 15
    back = unpacked(text)
    assert back is not None
    np.testing.assert_array_equal(back, right)
    known = scored("7", {"split": "s", "correct": text}).correct
    assert known is not None
    np.testing.assert_array_equal(known, right)


@pytest.mark.parametrize("text", ["", "9:", "9:/w==", "-1:/w==", "8:!!", "x:/w==", "0:"])
def test_damaged_answers_are_not_known(text: str) -> None:
    assert unpacked(text) is None


def test_answers_that_no_tag_can_hold_are_left_out() -> None:
    assert len(packed(np.ones(MOST, dtype=np.bool_))) < 100_000
    assert packed(np.ones(MOST + 1, dtype=np.bool_)) == ""
    assert unpacked("") is None
