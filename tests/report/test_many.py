"""The report of a thousand ingredients: small, folded, and its figures no blots."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from soup.report import tables
from soup.report.figures import accuracy_plane, hyperparameters, svg
from soup.report.greedy_trace import greedy_trace
from soup.report.page import Report, page
from soup.report.tables import FIRST_ROWS, UNFOLDED_ROWS, folded
from tests.report.document import Document

Make = Callable[..., Report]


def grown(small: Report, count: int) -> Report:
    """The small report, with so many ingredients, all of them tried."""
    rng = np.random.default_rng(0)
    names = [f"ft-{index:03d}" for index in range(count)]
    plain = small.results[small.results["model"] == "sweet-0"]
    others = small.results[~small.results["model"].str.startswith("sweet")]
    scores = pd.concat([plain.assign(model=name) for name in names])
    scores["accuracy"] += rng.normal(0, 0.01, len(scores))
    rows = small.ingredients.iloc[rng.integers(0, 8, count)]
    tuned = rows.assign(
        name=names,
        heldout_accuracy=rng.normal(0.9, 0.01, count),
        lr=np.exp(rng.uniform(-12, -5, count)),
        augment=[f"rand-m{m}-n{n}" for m, n in rng.integers(1, (21, 4), (count, 2))],
        kept=np.arange(count) % 50 == 0,
    )
    step, early = np.arange(count), rng.random(count) < 0.7
    trace = pd.DataFrame({"step": step, "name": names, "kept": step % 50 == 0})
    trace["heldout_errors"] = np.where(early & (step % 50 > 0), math.nan, 170 - step // 50)
    trace["at_most"] = np.where(step > 0, 170.0 - step // 50, math.nan)
    trace["examples_seen"] = np.where(early, 400, 2000)
    trace["heldout_n"] = 2000
    failed = small.ingredients[small.ingredients["status"] == "failed"]
    return replace(
        small,
        results=pd.concat([others, scores], ignore_index=True),
        ingredients=pd.concat([failed, tuned], ignore_index=True),
        trace=trace,
    )


@pytest.fixture(scope="module")
def thousand(make: Make) -> Report:
    return grown(make(), 1000)


@pytest.fixture(scope="module")
def text(thousand: Report) -> str:
    return page(thousand)


def test_a_thousand_ingredients_are_a_page_of_a_few_megabytes(text: str) -> None:
    assert len(text.encode()) < 6e6
    assert Document(text).open == []


def test_what_is_not_the_best_is_folded_away_and_nothing_is_lost(
    thousand: Report, text: str
) -> None:
    outside = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    assert "The other 960 candidates" in text
    assert "The other 961 ingredients" in text  # with the one that failed
    assert "The same for every ingredient (1,000)" in text
    shown = re.findall(r'<th scope="row" id="[^"]*"><a[^>]*>\s*([\w-]+)', outside.replace("\n", ""))
    best = thousand.ingredients.sort_values("heldout_accuracy", ascending=False, kind="stable")
    assert shown == best["name"].head(FIRST_ROWS).tolist()
    for name in thousand.ingredients["name"]:
        assert name in text


def test_a_hundred_rows_are_not_folded() -> None:
    rows: list[dict[str, object]] = [{"n": n} for n in range(UNFOLDED_ROWS + 1)]
    assert folded(rows[:UNFOLDED_ROWS]) == (rows[:UNFOLDED_ROWS], [])
    assert folded(rows) == (rows[:FIRST_ROWS], rows[FIRST_ROWS:])


def test_few_ingredients_stay_in_their_order_unfolded(make: Make) -> None:
    report = make()
    report = replace(report, ingredients=report.ingredients[::-1])
    text = page(report)
    assert text.count("<details>") == 1  # the accuracies of all
    names = re.findall(r'<th scope="row" id="[^"]*"><a[^>]*>\s*([\w-]+)', text.replace("\n", ""))
    assert names == [f"sweet-{k}" for k in range(7, -1, -1)]


def test_many_marks_are_small_and_bars_are_means_over_neighbours(thousand: Report) -> None:
    plane, trace, sweep = (
        accuracy_plane(thousand.results, "greedy"),
        greedy_trace(thousand.trace),
        hyperparameters(thousand.ingredients),
    )
    clouds = [line for axes in (*plane.axes, *sweep.axes) for line in axes.lines]
    assert all(line.get_markersize() < 3 for line in clouds if len(line.get_xdata()) > 150)
    assert sum(len(svg(figure)) for figure in (plane, trace, sweep)) < 2e6
    top, bottom = trace.axes
    assert [line.get_label() for line in top.lines[1:]] == ["kept", "rejected"]
    heights = [patch.get_height() for patch in bottom.patches]
    assert len(heights) == 100
    share = (thousand.trace["examples_seen"] / 20).to_numpy()
    assert np.allclose(heights, share.reshape(100, 10).mean(axis=1))
    low, high = bottom.get_xlim()
    assert low < 0
    assert 999 < high < 1040  # where the next tick would be, half outside


def test_names_of_many_categories_do_not_run_into_each_other(thousand: Report) -> None:
    figure = hyperparameters(thousand.ingredients)
    svg(figure)  # which lays it out
    (axes,) = (axes for axes in figure.axes if axes.get_title(loc="left") == "augment")
    boxes = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
    assert len(boxes) >= 2
    ordered = sorted(boxes, key=lambda box: box.x0)
    assert all(one.x1 < other.x0 for one, other in pairwise(ordered))


def test_the_splits_are_listed_once_however_many_models_there_are(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = []
    real = tables.splits
    monkeypatch.setattr(tables, "splits", lambda results: listed.append(1) or real(results))
    assert len(tables.accuracies(grown(make(), 5).results, ["ingredient"])) >= 5
    assert listed == [1]
