"""The honest sentence: what is claimed, and when nothing is."""

import math
import statistics
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest

from soup.report.caveats import caveats
from soup.report.headline import Outcome, Verdict, outcome, verdict
from soup.report.page import Report
from soup.report.tables import splits

Make = Callable[..., Report]

NAN = math.nan


def said(report: Report) -> Verdict:
    return verdict(report.results, report.tests, report.recipe)


@pytest.mark.parametrize(
    ("difference", "low", "high", "p_value", "differing", "expected"),
    [
        (0.02, 0.01, 0.03, 0.001, 50.0, "better"),
        (-0.02, -0.03, -0.01, 0.001, 50.0, "worse"),
        (0.02, -0.01, 0.05, 0.2, 50.0, "within noise"),
        (0.02, 0.001, 0.04, 0.06, 50.0, "within noise"),  # interval and test disagree
        (0.02, -0.001, 0.04, 0.04, 50.0, "within noise"),
        (0.02, 0.01, 0.03, NAN, NAN, "better"),  # the mean of shifts has an interval only
        (-0.02, NAN, NAN, 0.001, 50.0, "worse"),
        (0.02, NAN, NAN, NAN, NAN, "unknown"),
        (NAN, 0.01, 0.03, 0.001, 50.0, "unknown"),
        (0.0, 0.0, 0.0, 1.0, 0.0, "the same"),
        (0.0, 0.0, 0.0, NAN, NAN, "within noise"),
        (0.0, -0.01, 0.01, 1.0, 50.0, "within noise"),
    ],
)
def test_outcome(
    difference: float,
    low: float,
    high: float,
    p_value: float,
    differing: float,
    expected: Outcome,
) -> None:
    assert outcome(difference, low, high, p_value, differing) == expected


def test_a_gain_within_noise_is_called_so(make: Make) -> None:
    result = said(make(gain=0.002, half=0.006, p_value=0.61, shifts={}))
    assert result.headline == "The greedy soup is within noise of the best single model on test."
    detail, _ = result.details
    assert "a gain of 0.20 points (95% interval \u22120.40 to +0.80; p\u00a0=\u00a00.61)" in detail
    assert "2,000 images cannot tell them apart" in detail


def test_real_labels_are_another_score_of_test_and_no_shift(make: Make) -> None:
    plain = make(gain=0.02, half=0.006, p_value=0.0001)
    more = []
    for frame in (plain.results, plain.tests):
        again = frame[frame["split"] == "test"].assign(split="real")
        more.append(pd.concat([frame, again], ignore_index=True))
    report = replace(plain, results=more[0], tests=more[1])
    assert said(report) == said(plain)
    assert splits(report.results) == ["heldout", "test", "real", "shifts", "v2", "sketch"]
    alone = make(gain=0.02, half=0.006, p_value=0.0001, shifts={})
    again = alone.results[alone.results["split"] == "test"].assign(split="real")
    report = replace(alone, results=pd.concat([alone.results, again], ignore_index=True))
    assert said(report) == said(alone)
    told = caveats(report.results, report.ingredients, report.trace, report.recipe)
    assert any("No shift was evaluated" in note for note in told)


def test_a_loss_is_called_a_loss(make: Make) -> None:
    result = said(make(gain=-0.02, half=0.006, p_value=0.0001))
    assert result.headline.startswith("The greedy soup is worse than the best single model on test")
    assert (
        "a loss of 2.00 points (95% interval \u22122.60 to \u22121.40; p\u00a0<\u00a00.001)"
        in result.details[0]
    )


def test_a_difference_that_reads_zero_is_neither_gain_nor_loss(make: Make) -> None:
    for gain in (0.00004, -0.00004):
        result = said(make(gain=gain, half=0.006, p_value=0.9, shifts={}))
        assert "a difference of 0.00 points (95% interval" in result.details[0]
        assert result.comparisons[0].difference == gain
        assert result.comparisons[0].change == "0.00 points"


def test_test_and_shifts_may_disagree(make: Make) -> None:
    report = make()
    report.tests.loc[0, ["low", "p_value"]] = [-0.001, 0.2]
    assert said(report).headline == (
        "The greedy soup is within noise of the best single model on test, "
        "but beats it on the mean of 2 shifts."
    )


def test_a_mean_does_not_hide_the_shift_that_lost(make: Make) -> None:
    report = make()
    report.tests.loc[3, ["difference", "low", "high"]] = [-0.02, -0.03, -0.01]
    assert said(report).details[-1] == "Shift by shift: better on v2; worse on sketch."


def test_one_shift_is_named(make: Make) -> None:
    assert "on r, the only shift" in said(make(shifts={"r": 0.2})).headline


def test_the_uniform_soup_can_be_the_soup(make: Make) -> None:
    result = said(make(recipe="uniform"))
    assert result.headline.startswith("The uniform soup beats")
    assert "Test: 91.3% against 90.6%" in result.details[0]


def test_models_that_are_right_on_the_same_images_are_not_said_to_answer_alike(make: Make) -> None:
    report = make(gain=0.0, half=0.0, p_value=1.0, shifts={})
    report.tests[["soup_only", "single_only"]] = 0
    told = said(report)
    assert told.headline == (
        "The greedy soup does exactly as well as the best single model on test."
    )
    assert told.details[0].endswith(
        "Neither does better on any image, though their answers may differ."
    )


def test_the_gain_over_the_median_ingredient_is_told_too(make: Make) -> None:
    report = make(gain=0.02)
    median = {
        split: statistics.median(rows["accuracy"])
        for split, rows in report.results[report.results["kind"] == "ingredient"].groupby("split")
    }
    soup = report.results[report.results["kind"] == "greedy"].set_index("split")["accuracy"]
    gains = [
        f"{100 * (soup[split] - median[split]):+.2f} on {name} ({100 * median[split]:.1f}%)"
        for split, name in (("test", "test"), ("shifts", "mean of shifts"))
    ]
    told = f"Against the median ingredient: {', '.join(gains)}. The best single model is the best"
    assert any(detail.startswith(told) for detail in said(report).details)
    one = report.results[~report.results["model"].str.match("sweet-[1-7]")]
    assert "median" not in " ".join(said(replace(report, results=one)).details)
