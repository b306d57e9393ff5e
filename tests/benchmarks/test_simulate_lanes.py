"""The simulated search takes the time that the real one takes."""

import importlib
from typing import Any

import pytest


@pytest.fixture
def lanes() -> Any:
    return importlib.import_module("simulate_lanes")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_one_lane_takes_the_sum_where_nothing_is_kept_or_all_is(lanes: Any, count: int) -> None:
    assert lanes.simulated([False] * 5, 1, 0.25) == 1.25
    assert lanes.simulated([True] * count, 1, 0.25) == count


@pytest.mark.parametrize(("count", "expected"), [(1, 6.0), (2, 3.0), (3, 2.0), (6, 1.0), (9, 1.0)])
def test_rejected_candidates_share_the_lanes(lanes: Any, count: int, expected: float) -> None:
    assert lanes.simulated([False] * 6, count, 1.0) == expected


def test_no_lane_helps_where_all_are_kept(lanes: Any) -> None:
    assert lanes.simulated([True] * 6, 4, 0.1) == 6


def test_what_was_judged_against_an_old_soup_is_judged_again_after_it_has_ended(lanes: Any) -> None:
    # Both lanes end the first two at 1; the second counts again, until 2; the third with it.
    assert lanes.simulated([True, False, False], 2, 1.0) == 2
    # A rejection at 0.5 frees a lane for the third; the second is kept at 1, and the third runs to
    # 1.5 in vain and again to 2.5; the fourth beside it is in vain too, and takes until 3.
    assert lanes.simulated([False, True, True, False], 2, 0.5) == 3
    # The third, kept ready, is begun before it is known that the first is kept.
    assert lanes.simulated([True, False, False], 2, 0.75) == 1.5 + 0.75


def test_the_implementation_is_no_faster_than_simulated_and_decides_the_same(lanes: Any) -> None:
    accepted = [False, False, True, False, False, False]
    for count in (1, 3):
        expected = lanes.simulated(accepted, count, 0.5)
        assert expected <= lanes.slept(accepted, count, 0.5, seconds=0.02)


def test_more_is_gained_where_less_is_kept(lanes: Any) -> None:
    table = lanes.speedups(40, draws=20, rejected=1.0, rates=(0.0, 0.2, 0.9))
    assert table["4 lanes"][0] == 4
    assert table["4 lanes"].is_monotonic_decreasing
    assert (table["4 lanes"] > table["2 lanes"]).all()


def test_the_tables_are_printed(
    lanes: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--candidates", "8", "--draws", "2", "--rejected", "0.5", "--pass-seconds", "0.005"]
    monkeypatch.setattr("sys.argv", ["simulate_lanes", *options])
    lanes.main()
    printed = capsys.readouterr().out
    assert "a rejected candidate costs 0.5 of a pass" in printed
    assert "measured" in printed
