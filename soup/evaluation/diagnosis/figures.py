"""What `soup inspect --plot` and the selection's figures draw, in the report's manner.

`soup.report.png` and `soup.report.svg` write them.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator

from soup.evaluation.diagnosis.barrier import Line
from soup.evaluation.diagnosis.geometry import SAME, Geometry, Matrix
from soup.evaluation.diagnosis.selection_bias import Gain
from soup.report.style import CHOSEN, DOTS, INK, STYLE

# Okabe and Ito's, as in the report, for lines that are told apart by their marks too.
LINES = ((CHOSEN, "o"), ("#1f83c4", "s"), ("#0f9d76", "^"), ("#bb6699", "D"), (INK, "v"))
# Beyond so many models, numbers in the cells are too small to read.
MOST = 16


@matplotlib.rc_context(STYLE)
def positions(geometry: Geometry) -> Figure:
    """Heat maps with numbers: relative distances, and angles at the base (cosines without it)."""
    names = [*geometry.names, *(["the base"] if geometry.based else [])]
    size = 1.5 + 0.5 * min(len(names), MOST)
    figure = Figure(
        figsize=(2 * size + 1.2, size + 0.5),
        label="Distances and angles between the models",
        layout=ConstrainedLayoutEngine(wspace=0.08),
    )
    left, right = figure.subplots(1, 2)
    # Models of one basin differ little: the darkest is the furthest of these, but no further than
    # unrelated ones are.
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
    """The cost along each line, from the one model to the other.

    The lines with the highest barriers are named, with it; the others are thin.
    """
    highest = sorted(lines, key=lambda ends: -lines[ends].barrier)[: len(LINES)]
    figure = Figure(
        figsize=(6.2, 3.6 + 0.2 * len(highest)),
        label="Cost along the line between two models",
        layout=ConstrainedLayoutEngine(),
    )
    axes = figure.subplots()
    for line in (line for ends, line in lines.items() if ends not in highest):
        axes.plot(line.places, line.costs, color=INK, linewidth=0.5, alpha=0.6, zorder=1)
    for (start, end), (colour, marker) in zip(highest, LINES, strict=False):
        line = lines[start, end]
        look: dict[str, Any] = {"color": colour, "linewidth": 1.1, "markersize": 4}
        label = f"{start} to {end}: barrier {line.barrier:.3g}"
        axes.plot(line.places, line.costs, marker=marker, label=label, **look)
        ends = [line.costs[0], line.costs[-1]]
        axes.plot([0, 1], ends, color=colour, linewidth=0.6, dashes=(2, 3))
    axes.set_xlabel("Place on the line")
    axes.set_ylabel(cost)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.01), handletextpad=0.6)
    return figure


@matplotlib.rc_context(STYLE)
def acceptances(names: Sequence[str], gains: Sequence[Gain], factor: float = 2.0) -> Figure:
    """The gain of each acceptance, in points, with `factor` paired standard errors either way.

    Filled: more than noise.
    """
    figure = Figure(
        figsize=(6.2, 0.9 + 0.32 * len(names)),
        label="Gain of each accepted ingredient",
        layout=ConstrainedLayoutEngine(),
    )
    axes = figure.subplots()
    rows = np.arange(len(names))[::-1]
    for row, gain in zip(rows, gains, strict=True):
        colour = INK if gain.within_noise else CHOSEN
        reach = 100 * factor * gain.se
        axes.plot([100 * gain.gain - reach, 100 * gain.gain + reach], [row, row], color=colour)
        face = "none" if gain.within_noise else colour
        axes.plot(100 * gain.gain, row, "o", color=colour, markerfacecolor=face, **DOTS)
    axes.axvline(0, color=INK, linewidth=0.5, dashes=(1, 3), zorder=1)
    axes.yaxis.set_major_locator(FixedLocator(rows.tolist()))
    axes.set_yticklabels(names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlabel(f"Gain on held-out (points, ± {factor:g} s.e.; hollow: within noise)")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
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
    places = list(range(len(names)))
    axes.set_xticks(places, names, rotation=90)
    axes.set_yticks(places, names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if len(names) > MOST:
        return
    for (row, column), value in np.ndenumerate(values):
        colour = "#ffffff" if value > 0.75 * darkest else "#303236"
        text = "–" if np.isnan(value) else f"{value:{form}}"
        ink = INK if np.isnan(value) else colour
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=8)
