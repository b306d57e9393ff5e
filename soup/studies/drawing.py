"""How the figures of studies look: that of the report, at a width that is read at 400 pixels."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from soup.report import formatting
from soup.report.methods import mark as mark_of
from soup.report.style import INK, STYLE

WIDTH = 4.6  # inches: at 400 pixels, letters of 9.5 points have 11 pixels
styled = matplotlib.rc_context(STYLE)  # decorates a function that draws


def panels(label: str, rows: int = 1, columns: int = 1, height: float = 3.0, **options: Any) -> Any:
    """A figure and the array (rows, columns) of its axes.

    Args:
        label: what is drawn, for those who cannot see it.
        height: of a row, in inches.
        options: of matplotlib's `subplots`.
    """
    figure = Figure(
        figsize=(WIDTH, height * rows),
        label=label,
        layout=ConstrainedLayoutEngine(hspace=0.06, wspace=0.04),
    )
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def mark(axes: Axes, kind: str, x: float, y: float, **options: Any) -> None:
    """The mark of a kind of model (`soup.report.methods`) at a place."""
    marker, colour, size = mark_of(kind)
    look = {"color": colour, "markersize": size, "zorder": 5, "clip_on": False, **options}
    axes.plot([x], [y], marker, **look)


def legend_below(figure: Figure, axes: Axes, columns: int = 2) -> None:
    """The legend of the labelled marks of an axes, below all panels."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, columnspacing=1.0)


def logarithmic(axes: Axes) -> None:
    """A logarithmic horizontal axis, with numbers as the report writes them."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: formatting.setting(float(x))))
    axes.xaxis.set_minor_locator(NullLocator())


def zero(axes: Axes, horizontal: bool = True) -> None:
    """A thin line at zero."""
    line = axes.axhline if horizontal else axes.axvline
    line(0, color=INK, linewidth=0.6, dashes=(2, 3), zorder=1)


def trend(axes: Axes, x: Sequence[float], y: Sequence[float]) -> None:
    """The least-squares line through points."""
    if len(set(x)) < 2:
        return
    slope, height = np.polyfit(x, y, 1)
    ends = np.array([min(x), max(x)])
    axes.plot(ends, slope * ends + height, color=INK, linewidth=0.9, zorder=2)
