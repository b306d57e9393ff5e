"""The style of the report's figures: colours, marks and matplotlib's settings."""

from typing import Any

from matplotlib.figure import Figure

INK = "#7d8087"
CHOSEN = "#d95f0e"
DOTS: dict[str, Any] = {"markersize": 5, "markeredgewidth": 0.9, "linestyle": "none"}
SPECKS: dict[str, Any] = {"markersize": 2.2, "markeredgewidth": 0.5, "linestyle": "none"}
MANY = 150  # with more marks than this they are drawn small, and bars are means over neighbours
STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "svg.fonttype": "none",  # text stays text: selectable, small, in the page's own font
    "text.parse_math": False,  # a model's name may contain dollar signs
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "figure.facecolor": "none",
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.frameon": False,
    "legend.handletextpad": 0.2,
    "legend.borderaxespad": 0.0,
}


def empty(figure: Figure, reason: str) -> Figure:
    """Return the figure, made small, with the reason why nothing is drawn in it."""
    figure.set_size_inches(6.2, 0.8)
    figure.text(0.5, 0.5, reason, horizontalalignment="center", verticalalignment="center")
    return figure
