"""What the figures show, and that they are the same bytes each time."""

import math
import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from soup.report.figures import accuracy_plane, hyperparameters, png, svg
from soup.report.greedy_trace import greedy_trace
from soup.report.label_layout import not_far_below, side_by_side, spread
from soup.report.page import Report

Make = Callable[..., Report]


def words(figure: Figure) -> list[str]:
    """All text in the figure's SVG."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg(figure))


def all_figures(report: Report) -> tuple[Figure, Figure, Figure]:
    return (
        accuracy_plane(report.results, report.recipe),
        greedy_trace(report.trace),
        hyperparameters(report.ingredients),
    )


@pytest.fixture(scope="module")
def texts(make: Make) -> list[str]:
    """The SVG of all figures."""
    return [svg(figure) for figure in all_figures(make())]


def test_every_figure_is_the_same_bytes_each_time(make: Make, texts: list[str]) -> None:
    again = all_figures(make())
    assert [svg(figure) for figure in again] == texts
    assert [png(figure) for figure in again] == [png(figure) for figure in all_figures(make())]


def test_svg_is_one_spoken_element_in_the_colour_of_its_surroundings(texts: list[str]) -> None:
    for text in texts:
        assert text.startswith('<svg role="img" aria-label="')
        assert "currentColor" in text
        assert "metadata" not in text
        assert "<?xml" not in text
        assert "DOCTYPE" not in text


def test_figures_on_one_page_share_no_id(texts: list[str]) -> None:
    ids = [found for text in texts for found in re.findall(r'\bid="([^"]+)"', text)]
    assert ids
    assert len(ids) == len(set(ids))


def test_png_is_transparent(make: Make) -> None:
    data = png(greedy_trace(make().trace))
    assert data.startswith(b"\x89PNG")
    assert data[25] == 6  # colour type: red, green, blue, alpha


def test_the_plane_names_each_special_model_once_and_no_ingredient(make: Make) -> None:
    report = make()
    found = words(accuracy_plane(report.results, report.recipe))
    for name in ("greedy soup", "uniform soup", "best single", "ensemble", "greedy ensemble"):
        assert found.count(name) == 1
    assert not any("sweet" in word for word in found)


def test_the_plane_shows_test_against_the_mean_of_shifts(make: Make) -> None:
    report = make()
    figure = accuracy_plane(report.results, report.recipe)
    assert figure.axes[0].get_xlabel() == "Test accuracy (%)"
    assert figure.axes[0].get_ylabel() == "Mean accuracy under shift (%)"
    on = report.results.query("model == 'greedy'").set_index("split")["accuracy"]
    drawn = [
        tuple(np.asarray(line.get_xydata())[0])
        for line in figure.axes[0].lines
        if line.get_marker() == "o" and line.get_markersize() > 8
    ]
    assert drawn == [pytest.approx((100 * on["test"], 100 * on["shifts"]))]


def test_without_shifts_the_plane_shows_held_out_against_test(make: Make) -> None:
    report = make(shifts={})
    axes = accuracy_plane(report.results, report.recipe).axes[0]
    assert axes.get_xlabel() == "Held-out accuracy (%)"
    assert axes.get_ylabel() == "Test accuracy (%)"


def test_a_far_outlier_is_named_instead_of_squeezing_the_others(make: Make) -> None:
    report = make()
    report.results.loc[report.results["model"] == "probe", "accuracy"] = 0.1
    figure = accuracy_plane(report.results, report.recipe)
    assert figure.axes[0].get_xlim()[0] > 80
    assert "at 10.0, 10.0" in " ".join(words(figure))


def test_the_soup_and_the_best_single_model_are_never_off_the_chart(make: Make) -> None:
    report = make()
    report.results.loc[report.results["kind"] == "greedy", "accuracy"] = 0.05
    found = words(accuracy_plane(report.results, report.recipe))
    assert "greedy soup" in found
    assert "best single" in found


def test_the_plane_survives_missing_accuracies(make: Make) -> None:
    report = make()
    report.results["accuracy"] = math.nan
    assert "No accuracy is known." in words(accuracy_plane(report.results, report.recipe))
    report = make(shifts={})
    only = report.results[report.results["split"] == "heldout"]
    assert "No model was scored on both held-out and test." in words(accuracy_plane(only, "greedy"))


def test_the_trace_draws_kept_rejected_and_dropped_candidates_where_they_belong(make: Make) -> None:
    top, bottom = greedy_trace(make().trace).axes
    drawn = {line.get_label(): np.asarray(line.get_xydata()).tolist() for line in top.lines}
    assert drawn["kept"] == [[1, 91.5], [2, pytest.approx(91.8)], [4, 92.0]]
    assert drawn["rejected"] == [[5, pytest.approx(91.85)]]
    # Their accuracy is unknown: they stand at the bar that they missed.
    dropped = drawn["rejected, somewhere below"]
    assert dropped == [[3, pytest.approx(91.8)], [6, pytest.approx(92.0)]]
    bars = [bar.get_height() for bar in bottom.patches[6:] if isinstance(bar, Rectangle)]
    assert bars == [100, 100, 32, 100, 100, 20.5]


def test_an_empty_trace_says_so(make: Make) -> None:
    assert "There is no greedy trace: nothing was tried." in words(greedy_trace(make().trace[:0]))


def test_each_varying_hyperparameter_has_its_axes_and_a_constant_one_none(make: Make) -> None:
    report = make()
    report.ingredients["epochs"] = 8
    figure = hyperparameters(report.ingredients)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["lr", "weight decay", "label smoothing", "mixup", "augment", "seed"]
    scales = [axes.get_xscale() for axes in figure.axes]
    # Weight decay has a zero, which a logarithm has not.
    assert scales == ["log", "symlog", "linear", "linear", "linear", "linear"]


def test_failed_ingredients_are_crosses_on_the_axis(make: Make) -> None:
    axes = hyperparameters(make().ingredients).axes[0]
    cross = next(line for line in axes.lines if line.get_marker() == "x")
    assert np.asarray(cross.get_xydata()).tolist() == [[0.003, 0.0]]


def test_no_varying_hyperparameter_says_so(make: Make) -> None:
    assert "No hyperparameter varied." in words(hyperparameters(make().ingredients[:1]))


def test_names_in_figures_are_escaped_and_never_typeset(make: Make) -> None:
    report = make()
    report.ingredients["augment"] = ["<b>$x$", *report.ingredients["augment"][1:]]
    assert "&lt;b&gt;$x$" in svg(hyperparameters(report.ingredients))


def test_near_leaves_out_the_missing_and_the_far_below_only() -> None:
    values = pd.Series([90.0, 91.0, 92.0, 93.0, 10.0, math.nan, 150.0])
    assert not_far_below(values).tolist() == [True, True, True, True, False, False, True]
    assert not_far_below(pd.Series([5.0, 5.0, math.nan])).tolist() == [True, True, False]


def test_apart_keeps_order_gap_and_range() -> None:
    heights = spread(np.array([0.1, 0.5, 0.51, 0.52, 0.99]), gap=0.1)
    assert (np.diff(heights) >= 0.1 - 1e-12).all()
    assert heights[0] == pytest.approx(0.1)  # has room, so does not move
    assert spread(np.array([0.99, 1.0]), gap=0.1).tolist() == pytest.approx([0.9, 1.0])
    assert spread(np.array([0.0]), gap=0.1, floor=0.2).tolist() == [0.2]
    assert spread(np.array([]), gap=0.1).size == 0


def test_members_of_a_category_stand_side_by_side() -> None:
    places = side_by_side(pd.Series(["a", "b", "a", None]), ["a", "b"])
    assert places.tolist()[:3] == pytest.approx([-0.2, 1.0, 0.2])
    assert math.isnan(places[3])


def test_figures_are_not_kept_by_pyplot(make: Make) -> None:
    drawn = all_figures(make())
    assert not {manager.canvas.figure for manager in Gcf.get_all_fig_managers()} & set(drawn)


def test_a_seed_of_its_own_for_every_run_is_no_axis(make: Make) -> None:
    report = make()
    report.ingredients["seed"] = range(len(report.ingredients))
    figure = hyperparameters(report.ingredients)
    assert "seed" not in [axes.get_title(loc="left") for axes in figure.axes]


def test_a_sweep_without_failures_or_outliers_is_laid_out(make: Make) -> None:
    report = make()
    fine = report.ingredients[report.ingredients["heldout_accuracy"].notna()].copy()
    fine["heldout_accuracy"] = [0.7 + 0.001 * k for k in range(len(fine))]
    assert png(hyperparameters(fine))
