"""The report: frames in, one self-contained HTML page out."""

from soup.report.figures import accuracy_plane, hyperparameters, png, svg
from soup.report.page import Report, page
from soup.report.trace import greedy_trace

__all__ = [
    "Report",
    "accuracy_plane",
    "greedy_trace",
    "hyperparameters",
    "page",
    "png",
    "svg",
]
