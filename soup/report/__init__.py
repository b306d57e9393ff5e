"""The report: frames in, one self-contained HTML page out."""

from soup.report.figures import accuracy_plane, greedy_trace, hyperparameters, png, svg
from soup.report.page import Report, page

__all__ = [
    "Report",
    "accuracy_plane",
    "greedy_trace",
    "hyperparameters",
    "page",
    "png",
    "svg",
]
