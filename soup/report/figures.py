"""The figures of the report, for the page (SVG) and for MLflow (PNG).

Figures are drawn from data frames with matplotlib's object interface, without pyplot. Matplotlib's
settings are global while a figure is drawn or written, so draw in one thread at a time. Text and
axes have one mid-grey that can be read on white and on black; in SVG they take the colour of the
text around the figure.
"""

import html
import io
import re
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from soup.errors import some
from soup.report import formatting
from soup.report.label_layout import not_far_below, side_by_side, spread
from soup.report.methods import is_soup, mark
from soup.report.style import CHOSEN, DOTS, INK, MANY, SPECKS, STYLE, empty
from soup.report.tables import settings

LEADER_LINE: dict[str, Any] = {
    "arrowstyle": "-",
    "linewidth": 0.5,
    "alpha": 0.6,
    "relpos": (0, 0.5),
    "shrinkA": 2,
    "shrinkB": 5,
}
LABEL_CHARACTERS = 28  # that fit below one small plot
LOGARITHMIC = ("lr", "weight_decay")


@matplotlib.rc_context(STYLE)
def accuracy_plane(results: pd.DataFrame, recipe: str, measure: str = "accuracy") -> Figure:
    """Draw each model's accuracy on test (x) and its mean accuracy under shift (y).

    It follows Figure 1 of Wortsman et al., 2022. Without shifts x is held-out accuracy and y is
    test accuracy. Models far below the others are listed in a corner, because they would squeeze
    the other marks together.

    Args:
        results: as in `soup.report.page.Report`.
        recipe: of the soup to emphasise.
        measure: name of what the column 'accuracy' holds.
    """
    wide = results.pivot(index="model", columns="split", values=["accuracy", "low", "high"])
    kinds = results.drop_duplicates("model").set_index("model")["kind"]
    shifted = "shifts" in set(results.loc[results["accuracy"].notna(), "split"])
    across, up = ("test", "shifts") if shifted else ("heldout", "test")
    figure = Figure(
        figsize=(6.2, 4.1), label=f"{formatting.title(measure)} of each model on two splits"
    )
    if not {across, up} <= set(results["split"]):
        return empty(figure, f"No model was scored on both {formatting.split(across)} and {up}.")
    points = pd.DataFrame(
        {"x": 100 * wide["accuracy"][across], "y": 100 * wide["accuracy"][up], "kind": kinds}
    ).dropna()
    if points.empty:
        return empty(figure, f"No {measure} is known.")
    axes = figure.add_axes((0.1, 0.13, 0.66, 0.84))
    shown = not_far_below(points["x"]) & not_far_below(points["y"])
    shown |= points["kind"].isin([recipe, "best single"])  # the page compares these two
    for kind in points["kind"].unique():
        marker, colour, plain = mark(kind)
        group = points[shown & (points["kind"] == kind)]
        size = SPECKS["markersize"] if len(group) > MANY else plain
        hollow = "ensemble" in kind or kind == "ingredient"
        axes.plot(
            group["x"],
            group["y"],
            marker,
            color=colour,
            markersize=size + 2.5 * (kind == recipe),
            markerfacecolor="none" if hollow else colour,
            markeredgewidth=size / 4.5 if hollow else 0,
            zorder=4 if kind == recipe else 3,
        )
        if kind not in (recipe, "best single"):
            continue
        for model in group.index:
            whiskers = 100 * wide.loc[model].unstack(level=0)
            _interval(axes, whiskers.loc[across], whiskers.loc[up], colour)
    single = points[shown & (points["kind"] == "best single")]
    for x, y in zip(single["x"], single["y"], strict=True):
        axes.axvline(x, color=INK, linewidth=0.5, dashes=(1, 3), zorder=1)
        axes.axhline(y, color=INK, linewidth=0.5, dashes=(1, 3), zorder=1)
    axes.margins(0.07)
    shown_as = formatting.unit(measure)
    axes.set_xlabel(f"{formatting.split(across).capitalize()} {measure} ({shown_as})")
    axes.set_ylabel(
        f"{f'Mean {measure} under shift' if shifted else f'Test {measure}'} ({shown_as})"
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    far = points[~shown]
    special = points[shown & (points["kind"] != "ingredient")]
    _label(axes, special, recipe, floor=0.0 if far.empty else 0.12 + 0.11 * min(len(far), 3))
    if len(far):
        names = [f"{name}\nat {row.x:.1f}, {row.y:.1f}" for name, row in far.iterrows()]
        text = "Off the chart:\n" + some(names, 2, "\n")
        axes.text(1.04, 0.0, text, transform=axes.transAxes, linespacing=1.3)
    return figure


@matplotlib.rc_context(STYLE)
def hyperparameters(ingredients: pd.DataFrame, measure: str = "accuracy") -> Figure:
    """Draw held-out accuracy against each hyperparameter that varies.

    Marks of kept ingredients are filled. A failed ingredient is a cross on the x axis; one that is
    far below the others is a triangle on it.

    Args:
        ingredients: as in `soup.report.page.Report`.
        measure: name of what the column 'heldout_accuracy' holds.
    """
    varied = [name for name in settings(ingredients) if ingredients[name].nunique() > 1]
    # If each run has a different seed, accuracy against seed shows nothing.
    unique_seeds = "seed" in varied and bool(ingredients["seed"].dropna().is_unique)
    names = [name for name in varied if name != "seed" or not unique_seeds]
    columns = min(4, max(1, len(names)))
    rows = -(-len(names) // columns) or 1
    figure = Figure(
        figsize=(0.45 + 1.95 * max(columns, 3), 2.05 * rows + 0.15),
        label=f"Held-out {measure} by hyperparameter",
        layout=ConstrainedLayoutEngine(hspace=0.12, wspace=0.04),
    )
    if not names:
        return empty(figure, "No hyperparameter varied.")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    accuracy = 100 * ingredients["heldout_accuracy"]
    usual, kept = not_far_below(accuracy), ingredients["kept"].astype(bool)
    size = SPECKS if len(ingredients) > MANY else DOTS
    for index, axes in enumerate(grid.flat):
        if index >= len(names):
            axes.remove()
            continue
        axes.set_title(names[index].replace("_", " "))
        x = _set_up_x_axis(axes, names[index], ingredients[names[index]])
        plain = usual & ~kept
        axes.plot(x[plain], accuracy[plain], "o", color=INK, markerfacecolor="none", **size)
        axes.plot(x[usual & kept], accuracy[usual & kept], "o", color=CHOSEN, zorder=3, **size)
        floor: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False}
        for mask, marker in ((accuracy.isna(), "x"), (accuracy.notna() & ~usual, "v")):
            if mask.any():  # the layout engine cannot handle an empty plot that is not clipped
                axes.plot(x[mask], np.zeros(int(mask.sum())), marker, color=INK, **floor, **size)
        axes.margins(0.12)
    figure.supylabel(f"Held-out {measure} ({formatting.unit(measure)})", fontsize=9.5)
    return figure


def svg(figure: Figure) -> str:
    """Return the figure as an `<svg>` element, whose `aria-label` is the figure's label.

    The same figure gives the same bytes.
    """
    label = figure.get_label()
    # The salt makes ids reproducible, and different in the figures of one page.
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": str(label)}):
        stream = io.StringIO()
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(stream, format="svg", metadata=no_metadata)
    text = stream.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    # Matplotlib numbers groups from 1 in each figure, but ids must be unique in a page.
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    aria_label = html.escape(str(label), quote=True)
    return text.replace("<svg", f'<svg role="img" aria-label="{aria_label}"', 1)


def png(figure: Figure) -> bytes:
    """Return the figure as a transparent PNG of 200 dots per inch; always the same bytes."""
    stream = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(stream, format="png", dpi=200, metadata={"Software": None})
    return stream.getvalue()


def _interval(axes: Axes, x: pd.Series, y: pd.Series, colour: str) -> None:
    line: dict[str, Any] = {"color": colour, "linewidth": 0.9, "alpha": 0.65, "zorder": 2}
    axes.plot([x["low"], x["high"]], [y["accuracy"]] * 2, **line)
    axes.plot([x["accuracy"]] * 2, [y["low"], y["high"]], **line)


def _label(axes: Axes, points: pd.DataFrame, recipe: str, floor: float) -> None:
    """Write the names of models in a column at the right, with a line from each to its mark."""
    low, high = axes.get_ylim()
    points = points.sort_values("y")
    gap = min(0.075, (1 - floor) / len(points))
    heights = spread(((points["y"] - low) / (high - low)).to_numpy(), gap, floor)
    for height, row in zip(heights, points.itertuples(), strict=True):
        axes.annotate(
            f"{row.kind} soup" if is_soup(row.kind) and "(" not in row.kind else str(row.kind),
            (row.x, row.y),
            xytext=(1.04, height),
            textcoords="axes fraction",
            color=mark(row.kind)[1],
            fontweight="bold" if row.kind == recipe else "normal",
            verticalalignment="center",
            arrowprops=LEADER_LINE | {"color": mark(row.kind)[1]},
        )


def _set_up_x_axis(axes: Axes, name: str, values: pd.Series) -> pd.Series:
    """Make the x axis logarithmic, linear or categorical, and return the x of each value."""
    numbers = pd.to_numeric(values, errors="coerce")
    numeric = values.dtype != bool and bool(numbers.notna().equals(values.notna()))
    short = FuncFormatter(lambda value, _: formatting.setting(float(value)))
    if numeric and name in LOGARITHMIC and (numbers.dropna() >= 0).all():
        positive = numbers[numbers > 0]
        if (numbers == 0).any():
            axes.set_xscale("symlog", linthresh=float(positive.min()))
        else:
            axes.set_xscale("log")
            decade = positive.max() >= 10 * positive.min()
            axes.xaxis.set_major_locator(LogLocator(numticks=4) if decade else MaxNLocator(3))
        axes.xaxis.set_major_formatter(short)
        axes.xaxis.set_minor_locator(NullLocator())
        return numbers
    if numeric and numbers.nunique() > 6:
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(short)
        return numbers
    categories = sorted(values.dropna().unique(), key=lambda value: (str(type(value)), value))
    labels = [formatting.setting(category)[:12] for category in categories]
    fit = len("_".join(labels)) <= LABEL_CHARACTERS
    most = None if fit else max(2, LABEL_CHARACTERS // (max(map(len, labels)) + 1))
    axes.xaxis.set_major_locator(FixedLocator(list(range(len(categories))), most))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: labels[round(x)]))
    return side_by_side(values, categories)
