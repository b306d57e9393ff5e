"""The report's figures, for the page (SVG) and for MLflow (PNG).

Each is built from frames alone, object by object, never through pyplot. Matplotlib's settings
are process-wide while a figure is drawn or written, so draw in one thread at a time. Ink is one
mid-grey that reads on white and on black; in SVG it becomes the surrounding text's colour.
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
from soup.report.label_layout import apart, near, side_by_side
from soup.report.style import CHOSEN, DOTS, INK, MANY, SPECKS, STYLE, empty
from soup.report.tables import settings

# kind -> marker, colour, size in points. Shape and colour both tell the kinds apart; the colours
# are Okabe and Ito's, some darkened or lightened until they read on white and on black alike.
LOOKS = {
    "ingredient": ("o", INK, 4.5),
    "zero-shot": ("P", INK, 7.0),
    "initialisation": ("X", INK, 7.0),
    "best single": ("D", "#1f83c4", 6.5),
    "uniform": ("^", "#0f9d76", 8.0),
    "greedy": ("o", CHOSEN, 8.0),
    "ensemble": ("s", "#bb6699", 6.5),
    "greedy ensemble": ("p", "#bb6699", 8.0),
}
HAIR: dict[str, Any] = {
    "arrowstyle": "-",
    "linewidth": 0.5,
    "alpha": 0.6,
    "relpos": (0, 0.5),
    "shrinkA": 2,
    "shrinkB": 5,
}
WIDTH = 28  # characters below one small plot
LOGARITHMIC = ("lr", "weight_decay")


@matplotlib.rc_context(STYLE)
def accuracy_plane(results: pd.DataFrame, recipe: str) -> Figure:
    """The paper's Figure 1: test accuracy against mean accuracy under shift, one mark a model.

    Without shifts it is held-out accuracy against test accuracy. A model far below the others is
    named in a corner rather than squeezing the rest together.
    """
    wide = results.pivot(index="model", columns="split", values=["accuracy", "low", "high"])
    kinds = results.drop_duplicates("model").set_index("model")["kind"]
    shifted = "shifts" in set(results.loc[results["accuracy"].notna(), "split"])
    across, up = ("test", "shifts") if shifted else ("heldout", "test")
    figure = Figure(figsize=(6.2, 4.1), label="Accuracy of each model on two splits")
    if not {across, up} <= set(results["split"]):
        return empty(figure, f"No model was scored on both {formatting.split(across)} and {up}.")
    points = pd.DataFrame(
        {"x": 100 * wide["accuracy"][across], "y": 100 * wide["accuracy"][up], "kind": kinds}
    ).dropna()
    if points.empty:
        return empty(figure, "No accuracy is known.")
    axes = figure.add_axes((0.1, 0.13, 0.66, 0.84))
    shown = near(points["x"]) & near(points["y"])
    shown |= points["kind"].isin([recipe, "best single"])  # what the page is about, wherever it is
    for kind, (marker, colour, plain) in LOOKS.items():
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
    axes.set_xlabel(f"{formatting.split(across).capitalize()} accuracy (%)")
    axes.set_ylabel(f"{'Mean accuracy under shift' if shifted else 'Test accuracy'} (%)")
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
def hyperparameters(ingredients: pd.DataFrame) -> Figure:
    """Held-out accuracy against each hyperparameter that varies; kept ingredients are filled.

    A failed ingredient is a cross on the axis; a far outlier is a triangle on it.
    """
    # A seed of one's own for every run is no scale to look for a trend on.
    varied = [name for name in settings(ingredients) if ingredients[name].nunique() > 1]
    own = "seed" in varied and bool(ingredients["seed"].dropna().is_unique)
    names = [name for name in varied if name != "seed" or not own]
    columns = min(4, max(1, len(names)))
    rows = -(-len(names) // columns) or 1
    figure = Figure(
        figsize=(0.45 + 1.95 * max(columns, 3), 2.05 * rows + 0.15),
        label="Held-out accuracy by hyperparameter",
        layout=ConstrainedLayoutEngine(hspace=0.12, wspace=0.04),
    )
    if not names:
        return empty(figure, "No hyperparameter varied.")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    accuracy = 100 * ingredients["heldout_accuracy"]
    usual, kept = near(accuracy), ingredients["kept"].astype(bool)
    size = SPECKS if len(ingredients) > MANY else DOTS
    for index, axes in enumerate(grid.flat):
        if index >= len(names):
            axes.remove()
            continue
        axes.set_title(names[index].replace("_", " "))
        x = _place(axes, names[index], ingredients[names[index]])
        plain = usual & ~kept
        axes.plot(x[plain], accuracy[plain], "o", color=INK, markerfacecolor="none", **size)
        axes.plot(x[usual & kept], accuracy[usual & kept], "o", color=CHOSEN, zorder=3, **size)
        floor: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False}
        for mask, marker in ((accuracy.isna(), "x"), (accuracy.notna() & ~usual, "v")):
            if mask.any():  # an empty one, not clipped, has no extent that a layout could use
                axes.plot(x[mask], np.zeros(int(mask.sum())), marker, color=INK, **floor, **size)
        axes.margins(0.12)
    figure.supylabel("Held-out accuracy (%)", fontsize=9.5)
    return figure


def svg(figure: Figure) -> str:
    """The figure as an `<svg>` element: the same bytes for the same figure, its label spoken."""
    label = figure.get_label()
    # The salt also keeps the definitions of two figures on one page apart.
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": str(label)}):
        stream = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(stream, format="svg", metadata=nothing)
    text = stream.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    # Groups are numbered anew in each figure; nothing refers to them, and ids must be unique.
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    spoken = html.escape(str(label), quote=True)
    return text.replace("<svg", f'<svg role="img" aria-label="{spoken}"', 1)


def png(figure: Figure) -> bytes:
    """The figure as a PNG at twice its nominal size, transparent: the same bytes each time."""
    stream = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(stream, format="png", dpi=200, metadata={"Software": None})
    return stream.getvalue()


def _interval(axes: Axes, x: pd.Series, y: pd.Series, colour: str) -> None:
    line: dict[str, Any] = {"color": colour, "linewidth": 0.9, "alpha": 0.65, "zorder": 2}
    axes.plot([x["low"], x["high"]], [y["accuracy"]] * 2, **line)
    axes.plot([x["accuracy"]] * 2, [y["low"], y["high"]], **line)


def _label(axes: Axes, points: pd.DataFrame, recipe: str, floor: float) -> None:
    """Names in a column at the right, kept apart, each with a hair line to its mark."""
    low, high = axes.get_ylim()
    points = points.sort_values("y")
    heights = apart(((points["y"] - low) / (high - low)).to_numpy(), gap=0.075, floor=floor)
    for height, row in zip(heights, points.itertuples(), strict=True):
        axes.annotate(
            f"{row.kind} soup" if row.kind in ("greedy", "uniform") else str(row.kind),
            (row.x, row.y),
            xytext=(1.04, height),
            textcoords="axes fraction",
            color=LOOKS[row.kind][1],
            fontweight="bold" if row.kind == recipe else "normal",
            verticalalignment="center",
            arrowprops=HAIR | {"color": LOOKS[row.kind][1]},
        )


def _place(axes: Axes, name: str, values: pd.Series) -> pd.Series:
    """Where to draw each value, with the axis set up for it: logarithmic, linear or categories."""
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
    known = sorted(values.dropna().unique(), key=lambda value: (str(type(value)), value))
    names = [formatting.setting(each)[:12] for each in known]
    fit = len("_".join(names)) <= WIDTH
    most = None if fit else max(2, WIDTH // (max(map(len, names)) + 1))
    axes.xaxis.set_major_locator(FixedLocator(list(range(len(known))), most))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: names[round(place)]))
    return side_by_side(values, known)
