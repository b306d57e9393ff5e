"""The report: turns data frames of results into one self-contained HTML page."""

from soup.report.figures import accuracy_plane, hyperparameters, png, svg
from soup.report.greedy_trace import greedy_trace
from soup.report.page import Report, Study, page

__all__ = [
    "Report",
    "Study",
    "accuracy_plane",
    "greedy_trace",
    "hyperparameters",
    "page",
    "png",
    "svg",
]
