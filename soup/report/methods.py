"""The mark of each method: the same shape and colour in every figure.

The colours are those of Okabe and Ito, which the colour-blind can tell apart, some made darker or
lighter to be seen on white and on black. There are more methods than colours, so that recipes of
one family share a colour and differ in shape. A method is named as in the result tables: 'best
single', 'ensemble', or a recipe, whose options may follow in brackets: 'learned (by layer)'.
"""

from soup.report.style import CHOSEN, INK

SINGLE, AVERAGE, LEARNED, ENSEMBLE, MERGED = "#1f83c4", "#0f9d76", "#b58900", "#bb6699", "#8a63d2"
# Marker, colour and size in points.
MARKERS = {
    "ingredient": ("o", INK, 4.5),
    "zero-shot": ("P", INK, 7.0),
    "probe": ("X", INK, 7.0),
    "best single": ("D", SINGLE, 6.5),
    # Averages of all models, some of them moved along a line.
    "uniform": ("^", AVERAGE, 8.0),
    "fisher": ("v", AVERAGE, 7.5),
    "stock": ("<", AVERAGE, 7.5),
    "interpolate": (">", AVERAGE, 7.5),
    "task": ("d", AVERAGE, 7.5),
    "slerp": ("h", AVERAGE, 7.5),
    "wsm": ("s", AVERAGE, 6.5),
    "lines": ("H", AVERAGE, 7.5),
    # Searches for the models that help.
    "greedy": ("o", CHOSEN, 8.0),
    "removal": ("v", CHOSEN, 7.5),
    "repetition": ("^", CHOSEN, 7.5),
    "pruned": ("s", CHOSEN, 6.5),
    "radin": ("D", CHOSEN, 6.5),
    # Shares that are trained.
    "learned": ("*", LEARNED, 10.0),
    "mehl": ("P", LEARNED, 8.0),
    # Changes of which a part is kept.
    "ties": ("^", MERGED, 7.5),
    "dare": ("v", MERGED, 7.5),
    "monosoup": ("D", MERGED, 6.5),
    "distilled": ("X", ENSEMBLE, 7.5),
    "ensemble": ("s", ENSEMBLE, 6.5),
    "greedy ensemble": ("p", ENSEMBLE, 8.0),
}
# Of a recipe that is not among them.
UNKNOWN = ("8", MERGED, 7.5)
MODELS = (
    "ingredient", "zero-shot", "probe", "best single", "distilled", "ensemble", "greedy ensemble",
    "registered",
)  # fmt: skip


def method_of(kind: str) -> str:
    """Return the method of a kind of model: 'learned (by layer)' -> 'learned'."""
    return kind.partition(" (")[0]


def is_soup(kind: str) -> bool:
    """Return whether models of this kind are soups, and so made by a recipe."""
    return method_of(kind) not in MODELS


def mark(kind: str) -> tuple[str, str, float]:
    """Return the marker, the colour and the size in points of a kind of model."""
    return MARKERS.get(method_of(kind), UNKNOWN)
