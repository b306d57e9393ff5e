"""The figure of a greedy search: what was tried, kept and dropped, and what it cost."""

from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from soup.report.style import CHOSEN, DOTS, INK, MANY, SPECKS, STYLE, empty


@matplotlib.rc_context(STYLE)
def greedy_trace(trace: pd.DataFrame) -> Figure:
    """The soup's held-out accuracy with each candidate tried, over the images that it took.

    A candidate dropped early has no accuracy, only an upper bound: a triangle at the bar. Among
    many it has no mark, and the images are means over neighbours.
    """
    figure = Figure(figsize=(6.2, 4.0), label="Greedy soup, candidate by candidate")
    if trace.empty:
        return empty(figure, "There is no greedy trace: nothing was tried.")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1), squeeze=True)
    figure.subplots_adjust(left=0.115, right=0.985, top=0.93, bottom=0.115, hspace=0.14)
    many = len(trace) > MANY
    steps, images = trace["step"], trace["heldout_n"]
    kept = trace["kept"].astype(bool)
    accuracy = 100 * (1 - trace["heldout_errors"] / images)
    bar = 100 * (1 - trace["at_most"] / images)
    # The bar that the next candidate must reach: the soup as it stands.
    soup = accuracy.where(kept).ffill()
    top.step(steps, soup, where="post", color=CHOSEN, linewidth=1.1, zorder=2)
    early = accuracy.isna() & ~kept
    full = ~kept & ~early
    for mask, height, marker, colour, face, label in (
        (kept, accuracy, "o", CHOSEN, CHOSEN, "kept"),
        (full, accuracy, "o", INK, "none", "rejected"),
        (
            early & ~pd.Series(many, trace.index),
            bar,
            "v",
            INK,
            INK,
            "dropped early, somewhere below",
        ),
    ):
        if mask.any():
            look: dict[str, Any] = {"color": colour, "markerfacecolor": face, "label": label}
            size = SPECKS if many else DOTS
            top.plot(steps[mask], height[mask], marker, zorder=3, **look, **size)
    top.margins(y=0.12)
    top.legend(loc="lower left", bbox_to_anchor=(0, 1.01), ncols=3, columnspacing=1.4)
    top.set_ylabel("Held-out accuracy (%)")
    top.tick_params(axis="x", length=0)
    _looked_at(bottom, trace, many)
    bottom.set_ylim(0, 100)
    bottom.set_yticks([0, 50, 100])
    bottom.set_ylabel("Looked at (%)")
    bottom.set_xlabel("Candidate, best held-out accuracy first")
    bottom.xaxis.set_major_locator(MaxNLocator(16, integer=True))
    if many:  # a tick outside of the candidates would be cut off
        bottom.set_xlim(-0.02 * len(trace), 1.01 * len(trace))
    figure.align_ylabels()
    return figure


def _looked_at(axes: Axes, trace: pd.DataFrame, many: bool) -> None:
    share = 100 * trace["examples_seen"] / trace["heldout_n"]
    if not many:
        axes.bar(trace["step"], 100, width=0.7, color=INK, alpha=0.16)
        colours = [CHOSEN if kept else INK for kept in trace["kept"]]
        axes.bar(trace["step"], share, width=0.7, color=colours)
        return
    neighbours = pd.cut(trace["step"], 100, labels=False)
    middles, means = (each.groupby(neighbours).mean() for each in (trace["step"], share))
    axes.bar(middles, means, width=0.8 * len(trace) / 100, color=INK)
