"""The champion moves only for what is better on the same held-out set."""

import pytest

from soup.champion import Decision, Scored, decide


def unasked() -> int:
    raise AssertionError("both were scored on one held-out set")


def test_the_first_version_is_the_champion() -> None:
    assert decide(Scored("1", 90, "s"), None, unasked) == Decision(True, "the first version")


@pytest.mark.parametrize(("errors", "better"), [(89, True), (90, False), (91, False)])
def test_a_version_must_make_fewer_errors_than_the_champion(errors: int, better: bool) -> None:
    decision = decide(Scored("2", errors, "s"), Scored("1", 90, "s"), unasked)
    told = f"{errors} held-out errors against 90 of champion 1"
    assert decision == Decision(better, told)


@pytest.mark.parametrize(("rescored", "better"), [(51, True), (50, False), (49, False)])
def test_a_champion_of_another_held_out_set_is_scored_again(rescored: int, better: bool) -> None:
    decision = decide(Scored("2", 50, "new"), Scored("1", 10, "old"), lambda: rescored)
    told = f"50 held-out errors against {rescored} of champion 1"
    assert decision == Decision(better, told)


def test_a_champion_of_other_classes_is_not_replaced_without_a_person() -> None:
    decision = decide(Scored("2", 0, "new"), Scored("1", 10, "old"), lambda: None)
    assert decision == Decision(
        False, "champion 1 knows other classes: move the alias by hand if meant"
    )


def test_the_champion_is_not_compared_with_itself() -> None:
    same = Scored("3", 10, "s")
    assert decide(same, same, unasked) == Decision(False, "version 3 is the champion already")
