"""Accuracy against one hyperparameter, in a panel for each split."""

from collections.abc import Sequence

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from soup.report import formatting
from soup.report.method_curves import WIDTH
from soup.report.style import DOTS, INK, STYLE, empty

WIDE = 10.0  # ratio of largest to smallest value from which the axis is logarithmic


@matplotlib.rc_context(STYLE)
def setting_points(scores: pd.DataFrame, values: pd.Series, splits: Sequence[str]) -> Figure:
    """Draw a circle for each model.

    Args:
        scores: a row for each model, a column for each split; fractions.
        values: the setting by model, which names the x axis; NaN for models without it.
    """
    label = f"Accuracy by {values.name}"
    figure = Figure(figsize=(WIDTH, 2.8), label=label)
    known = values.dropna()
    known = known[known.index.isin(scores.index)]
    if known.empty:
        return empty(figure, f"No {values.name} is known.")
    panels = figure.subplots(1, len(splits), squeeze=False)[0]
    figure.subplots_adjust(left=0.11, right=0.97, top=0.9, bottom=0.19, wspace=0.24)
    for axes, split in zip(panels, splits, strict=True):
        accuracy = 100 * scores.loc[known.index, split]
        axes.plot(known, accuracy, "o", color=INK, markerfacecolor="none", **DOTS)
        if known.min() > 0 and known.max() > WIDE * known.min():
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(numticks=4))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(
                FuncFormatter(lambda value, _: formatting.setting(float(value)))
            )
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.set_title(formatting.split(split))
        axes.set_xlabel(str(values.name).capitalize())
    panels[0].set_ylabel("Accuracy (%)")
    return figure
