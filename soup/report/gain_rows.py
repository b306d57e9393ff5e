"""Gains over the best single model: a row for each kind of group, a panel for each split."""

from collections.abc import Sequence

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from soup.report import formatting
from soup.report.method_curves import WIDTH, legend
from soup.report.methods import mark
from soup.report.style import INK, STYLE, empty

METHODS = ("uniform", "greedy", "distilled", "ensemble")
APART = 0.2  # of a row, between two methods


@matplotlib.rc_context(STYLE)
def gain_rows(means: pd.DataFrame, splits: Sequence[str], label: str) -> Figure:
    """Draw the gains of soups and ensemble, with their bounds as lines.

    Args:
        means: kind, split, method, gain, low, high; fractions. Kinds are rows, from the top.
        splits: the panels.
        label: of the figure.
    """
    kinds = [str(kind) for kind in dict.fromkeys(means["kind"])]
    figure = Figure(figsize=(WIDTH, 1.35 + 0.45 * max(2, len(kinds))), label=label)
    drawn = means[means["method"].isin(METHODS) & means["split"].isin([*splits])]
    if drawn.empty:
        return empty(figure, "No group of models was scored.")
    methods = [method for method in METHODS if (drawn["method"] == method).any()]
    panels = figure.subplots(1, len(splits), squeeze=False, sharey=True)[0]
    height = float(figure.get_size_inches()[1])
    figure.subplots_adjust(
        left=0.27, right=0.98, top=1 - 0.62 / height, bottom=0.5 / height, wspace=0.1
    )
    for axes, split in zip(panels, splits, strict=True):
        axes.axvline(0, color=INK, linewidth=0.7, dashes=(2, 3))
        for place, method in enumerate(methods):
            marker, colour, size = mark(method)
            group = drawn[(drawn["split"] == split) & (drawn["method"] == method)]
            y = group["kind"].map(kinds.index) + APART * (place - (len(methods) - 1) / 2)
            bounds = group[["low", "high"]].fillna({"low": group["gain"], "high": group["gain"]})
            axes.hlines(y, 100 * bounds["low"], 100 * bounds["high"], color=colour, linewidth=1.1)
            face = "none" if method == "ensemble" else colour
            look = {"color": colour, "markersize": 0.75 * size, "markerfacecolor": face}
            axes.plot(100 * group["gain"], y, marker, linestyle="none", zorder=3, **look)
        axes.set_title(formatting.split(split))
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    panels[0].set_yticks(range(len(kinds)), [kind.replace("_", " ") for kind in kinds])
    panels[0].set_ylim(len(kinds) - 0.5, -0.5)
    figure.supxlabel("Gain over the best single model (points)", fontsize=9.5, color=INK, y=0.01)
    legend(figure, methods)
    return figure
