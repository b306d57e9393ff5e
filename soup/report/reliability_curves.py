"""Reliability curves: the accuracy of answers by their confidence, before and after scaling."""

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from soup.report import formatting
from soup.report.method_curves import WIDTH, legend
from soup.report.methods import mark
from soup.report.style import INK, STYLE, empty

TITLES = {"none": "As they are", "temperature": "Temperature scaled"}


@matplotlib.rc_context(STYLE)
def reliability_curves(table: pd.DataFrame, split: str) -> Figure:
    """Draw a curve for each method, in a panel for each scaling; the diagonal is calibrated.

    Args:
        table: method, split, scaling, confidence, accuracy, ece; a row for each bin.
        split: that is drawn.
    """
    figure = Figure(figsize=(WIDTH, 3.3), label="Accuracy by confidence")
    drawn = table[table["split"] == split].dropna(subset=["confidence"])
    if drawn.empty:
        return empty(figure, "No confidence is known.")
    panels = figure.subplots(1, len(TITLES), squeeze=False, sharex=True, sharey=True)[0]
    figure.subplots_adjust(left=0.11, right=0.985, top=0.77, bottom=0.15, wspace=0.12)
    lowest = 100 * float(drawn[["confidence", "accuracy"]].min().min())
    for axes, (scaling, title) in zip(panels, TITLES.items(), strict=True):
        axes.plot([lowest, 100], [lowest, 100], color=INK, linewidth=0.8, dashes=(2, 2))
        of_scaling = drawn[drawn["scaling"] == scaling]
        for method, group in of_scaling.groupby("method", sort=False):
            marker, colour, size = mark(str(method))
            axes.plot(
                100 * group["confidence"],
                100 * group["accuracy"],
                marker,
                linestyle="-",
                linewidth=1.0,
                color=colour,
                markersize=0.6 * size,
                markerfacecolor="none" if "ensemble" in str(method) else colour,
            )
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.set_title(title)
        axes.set_xlabel("Confidence (%)")
    panels[0].set_ylabel(f"{formatting.split(split).capitalize()} accuracy (%)")
    legend(figure, [str(method) for method in dict.fromkeys(drawn["method"])])
    return figure
