"""Curves of accuracy by method, with bands, in a panel for each split."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from soup.report import formatting
from soup.report.methods import is_soup, mark
from soup.report.style import STYLE, empty

WIDTH = 5.2  # inches: at 400 pixels its letters are 10 pixels high


@matplotlib.rc_context(STYLE)
def method_curves(
    points: pd.DataFrame, splits: Sequence[str], across: str, label: str, log: bool = False
) -> Figure:
    """Draw a line for each method over x, in a panel for each split.

    A method with a single point is a mark without a line.

    Args:
        points: method (of `soup.report.methods`), split, x, mean, low, high; fractions. Bounds that
            are NaN are not drawn.
        splits: the panels, from left to right; those without a point are left out.
        across: what x is.
        label: of the figure.
        log: whether x is logarithmic, with base 2.
    """
    drawn = points.dropna(subset=["mean"])
    splits = [split for split in splits if (drawn["split"] == split).any()]
    figure = Figure(figsize=(WIDTH, 3.3), label=label)
    if not splits:
        return empty(figure, "No accuracy is known.")
    panels = figure.subplots(1, len(splits), squeeze=False)[0]
    figure.subplots_adjust(left=0.11, right=0.985, top=0.77, bottom=0.15, wspace=0.24)
    for axes, split in zip(panels, splits, strict=True):
        of_split = drawn[drawn["split"] == split]
        for method, group in of_split.groupby("method", sort=False):
            _line(axes, str(method), group.sort_values("x"))
        if log:
            _powers_of_two(axes, drawn["x"])
        else:
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.set_title(formatting.split(split))
        axes.set_xlabel(across)
    panels[0].set_ylabel("Accuracy (%)")
    legend(figure, dict.fromkeys(str(method) for method in drawn["method"]))
    return figure


def legend(figure: Figure, methods: Mapping[str, object] | Sequence[str]) -> None:
    """Write the methods' names above the panels, each with its mark."""
    marks: list[Any] = []
    for method in methods:
        marker, colour, size = mark(method)
        hollow = "none" if "ensemble" in method else colour
        style: dict[str, Any] = {"color": colour, "markersize": size, "markerfacecolor": hollow}
        marks.append(Line2D([], [], marker=marker, linewidth=1.2, **style))
    names = [f"{m} soup" if is_soup(m) else m for m in methods]
    figure.legend(
        marks, names, loc="upper left", ncols=3, bbox_to_anchor=(0.02, 1.0), columnspacing=1.2
    )


def _line(axes: Axes, method: str, group: pd.DataFrame) -> None:
    marker, colour, size = mark(method)
    hollow = "ensemble" in method
    dense = len(group) > 10
    axes.plot(
        group["x"],
        100 * group["mean"],
        marker,
        linestyle="--" if method == "greedy ensemble" else "-",
        linewidth=1.2,
        color=colour,
        markersize=size * (0.55 if dense else 0.8),
        markerfacecolor="none" if hollow else colour,
        markevery=max(1, len(group) // 8),
        zorder=3,
    )
    band = group.dropna(subset=["low", "high"])
    if len(band) > 1:
        low, high = 100 * band["low"], 100 * band["high"]
        axes.fill_between(band["x"], low, high, color=colour, alpha=0.16, linewidth=0)
    elif len(band):
        low, high = 100 * band["low"], 100 * band["high"]
        axes.vlines(band["x"], low, high, color=colour, linewidth=0.9, alpha=0.65)


def _powers_of_two(axes: Axes, x: pd.Series) -> None:
    axes.set_xscale("log", base=2)
    ticks = [2.0**power for power in range(31) if x.min() <= 2**power <= x.max()]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
