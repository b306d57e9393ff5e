"""The figures of `soup inspect --plot`, in the style of the report.

`soup.report.png` and `soup.report.svg` turn a figure into bytes.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from soup.evaluation.diagnosis.barrier import Line
from soup.evaluation.diagnosis.geometry import SAME, Geometry, Matrix
from soup.report.style import CHOSEN, INK, STYLE

# The colours of Okabe and Ito, as in the report; the markers tell the lines apart without colour.
LINES = ((CHOSEN, "o"), ("#1f83c4", "s"), ("#0f9d76", "^"), ("#bb6699", "D"), (INK, "v"))
# With more models than this, the numbers in the cells are too small to read.
MAX_LABELLED = 16


@matplotlib.rc_context(STYLE)
def positions(geometry: Geometry) -> Figure:
    """Two heat maps of K models: relative distances, and angles at the base in degrees.

    Without a base the second map shows cosines. Up to 16 models have their numbers in the cells.
    """
    names = [*geometry.names, *(["the base"] if geometry.based else [])]
    size = 1.5 + 0.5 * min(len(names), MAX_LABELLED)
    figure = Figure(
        figsize=(2 * size + 1.2, size + 0.5),
        label="Distances and angles between the models",
        layout=ConstrainedLayoutEngine(wspace=0.08),
    )
    left, right = figure.subplots(1, 2)
    # Models of one basin differ little, so the colour scale ends at the largest distance present,
    # and never beyond the distance of unrelated models.
    far = min(math.sqrt(2), max(np.nanmax(geometry.relative, initial=0), SAME))
    _heat(left, names, geometry.relative, "Relative distance", "Oranges", ".2g", far)
    if geometry.angles is None:
        _heat(right, names, geometry.cosines, "Cosine", "Blues", "z.3f", 1)
    else:
        title = "Angle at the base (degrees)"
        _heat(right, list(geometry.names), geometry.angles, title, "Blues", ".0f", 90)
    return figure


@matplotlib.rc_context(STYLE)
def crossings(lines: Mapping[tuple[str, str], Line], cost: str = "Held-out errors") -> Figure:
    """The cost along the line between the two models of each pair.

    The legend names the five lines with the highest barriers; all other lines are thin.

    Args:
        lines: (first model, last model) -> the costs along their line.
        cost: label of the vertical axis.
    """
    highest = sorted(lines, key=lambda ends: -lines[ends].barrier)[: len(LINES)]
    figure = Figure(
        figsize=(6.2, 3.6 + 0.2 * len(highest)),
        label="Cost along the line between two models",
        layout=ConstrainedLayoutEngine(),
    )
    axes = figure.subplots()
    for line in (line for ends, line in lines.items() if ends not in highest):
        axes.plot(line.positions, line.costs, color=INK, linewidth=0.5, alpha=0.6, zorder=1)
    labels = {}
    for (start, end), (colour, marker) in zip(highest, LINES, strict=False):
        line = lines[start, end]
        look: dict[str, Any] = {"color": colour, "linewidth": 1.1, "markersize": 4}
        label = f"{start} to {end}: barrier {line.barrier:.3g}"
        labels[label] = axes.plot(line.positions, line.costs, marker=marker, **look)[0]
        ends = [line.costs[0], line.costs[-1]]
        axes.plot([0, 1], ends, color=colour, linewidth=0.6, dashes=(2, 3))
    axes.set_xlabel("Place on the line")
    axes.set_ylabel(cost)
    # Given apart, because a label of `plot` that begins with "_" is left out.
    axes.legend(
        labels.values(), labels, loc="lower left", bbox_to_anchor=(0, 1.01), handletextpad=0.6
    )
    return figure


def _heat(
    axes: Axes,
    names: Sequence[str],
    values: Matrix,
    title: str,
    colours: str,
    form: str,
    darkest: float,
) -> None:
    axes.imshow(values, cmap=colours, vmin=0, vmax=1.3 * darkest)
    axes.set_title(title)
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=90)
    axes.set_yticks(ticks, names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if len(names) > MAX_LABELLED:
        return
    for (row, column), value in np.ndenumerate(values):
        colour = "#ffffff" if value > 0.75 * darkest else "#303236"
        text = "–" if np.isnan(value) else f"{value:{form}}"
        ink = INK if np.isnan(value) else colour
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=8)
