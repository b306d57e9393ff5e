"""The figure of a greedy search: which candidates were kept, and how many examples each took."""

from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from soup.report import formatting
from soup.report.style import CHOSEN, DOTS, INK, MANY, SPECKS, STYLE, empty


@matplotlib.rc_context(STYLE)
def greedy_trace(
    trace: pd.DataFrame, measure: str = "accuracy", unit: str = "images", recipe: str = "greedy"
) -> Figure:
    """Draw the held-out accuracy with each candidate, and the share of images it was judged on.

    A candidate whose errors were not counted to the end has no accuracy, only an upper bound: the
    accuracy that it failed to reach, marked by a triangle. With more than `MANY` candidates there
    are no triangles, and the shares of images are means over neighbouring candidates.

    Args:
        trace, unit: as in `soup.report.page.Report`.
        measure: the score that candidates are judged by.
        recipe: whose candidates they are; those of greedy come in the order of their score.
    """
    label = f"{recipe[:1].upper()}{recipe[1:]} soup, candidate by candidate"
    figure = Figure(figsize=(6.2, 4.0), label=label)
    if trace.empty:
        return empty(figure, "There is no greedy trace: nothing was tried.")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1), squeeze=True)
    figure.subplots_adjust(left=0.115, right=0.985, top=0.93, bottom=0.115, hspace=0.14)
    many = len(trace) > MANY
    steps, images = trace["step"], trace["heldout_n"]
    kept = trace["kept"].astype(bool)
    accuracy = 100 * (1 - trace["heldout_errors"] / images)
    required = 100 * (1 - trace["at_most"] / images)
    soup = accuracy.where(kept).ffill()  # accuracy of the soup after each candidate
    top.step(steps, soup, where="post", color=CHOSEN, linewidth=1.1, zorder=2)
    early = accuracy.isna() & ~kept
    full = ~kept & ~early
    for mask, height, marker, colour, face, label in (
        (kept, accuracy, "o", CHOSEN, CHOSEN, "kept"),
        (full, accuracy, "o", INK, "none", "rejected"),
        (
            early & ~pd.Series(many, trace.index),
            required,
            "v",
            INK,
            INK,
            "rejected, somewhere below",
        ),
    ):
        if mask.any():
            look: dict[str, Any] = {"color": colour, "markerfacecolor": face, "label": label}
            size = SPECKS if many else DOTS
            top.plot(steps[mask], height[mask], marker, zorder=3, **look, **size)
    top.margins(y=0.12)
    top.legend(loc="lower left", bbox_to_anchor=(0, 1.01), ncols=3, columnspacing=1.4)
    top.set_ylabel(f"Held-out {measure} ({formatting.unit(measure)})")
    top.tick_params(axis="x", length=0)
    _draw_images_seen(bottom, trace, many)
    bottom.set_ylim(0, 100)
    bottom.set_yticks([0, 50, 100])
    bottom.set_ylabel(f"{unit.capitalize()} (%)")
    order = f"best held-out {measure} first" if recipe == "greedy" else "in the order tried"
    bottom.set_xlabel(f"Candidate, {order}")
    bottom.xaxis.set_major_locator(MaxNLocator(16, integer=True))
    if many:  # else the label of a tick beyond the last candidate would be cut off
        bottom.set_xlim(-0.02 * len(trace), 1.01 * len(trace))
    figure.align_ylabels()
    return figure


def _draw_images_seen(axes: Axes, trace: pd.DataFrame, many: bool) -> None:
    share = 100 * trace["examples_seen"] / trace["heldout_n"]
    if not many:
        axes.bar(trace["step"], 100, width=0.7, color=INK, alpha=0.16)
        colours = [CHOSEN if kept else INK for kept in trace["kept"]]
        axes.bar(trace["step"], share, width=0.7, color=colours)
        return
    neighbours = pd.cut(trace["step"], 100, labels=False)
    middles, means = (column.groupby(neighbours).mean() for column in (trace["step"], share))
    axes.bar(middles, means, width=0.8 * len(trace) / 100, color=INK)
