"""landscape: loss and error in the plane through the initialisation and two fine-tunes.

Wortsman et al., "Model soups", ICML 2022, the error landscapes. With u1 = theta1 - theta0 and
u2 = theta2 - theta0, Gram-Schmidt gives the orthonormal basis e1 = u1 / |u1| and e2 = v / |v| with
v = u2 - (u2 . e1) e1. The point (x, y) is theta0 + x e1 + y e2, which is a combination of the three
models: their shares follow from the inner products alone, and no basis is stored.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from soup.config.studies import StudyOptions
from soup.errors import BadInput
from soup.studies.bench import SHIFTS, TRAIN, Bench
from soup.studies.drawing import mark, panels, styled
from soup.studies.point import combination, only
from soup.studies.study import Findings, Study
from soup.studies.wording import difference, percent
from soup.weights import gram

SIDE = 25
MARGIN = 0.25  # of the models' extent, around them
TITLES = {TRAIN: "Training loss", "heldout": "Held-out error, %", "test": "Test error, %"}
TITLES |= {SHIFTS: "Error under shift, %"}
ENDS = ("initialisation", "first", "second")  # columns of the models' shares


def run(bench: Bench, options: StudyOptions) -> Findings:
    """The study; its table has a row for each point and split."""
    names = options.models or [*bench.ranked[:2]]
    if len(names) != 2:
        raise BadInput(f"study landscape is of two fine-tunes, and {len(names)} are given")
    assert bench.base is not None
    corners = [bench.base, *names]
    products = inner_products(bench, corners)
    plane = Plane(products, corners)
    side = options.points or SIDE
    xs, ys = plane.grid(side)
    places = [(x, y) for y in ys for x in xs]
    splits = [TRAIN, "heldout", "test", *bench.shifts]
    rows: list[dict[str, Any]] = []
    with bench.counted("landscape", len(places)) as advance:
        for x, y in places:
            shares = plane.shares(x, y)
            figures = bench.figures(combination(dict(zip(corners, shares, strict=True))), splits)
            place = {"x": x, "y": y, **dict(zip(ENDS, shares, strict=True))}
            rows += [place | row for row in _rows(figures, bench.shifts)]
            advance()
    table = pd.DataFrame(rows)
    return Findings(table, draw(table, plane, side), _sentence(bench, table, corners))


def inner_products(bench: Bench, corners: Sequence[str]) -> NDArray[np.float64]:
    """(2, 2) inner products of the two fine-tunes, seen from the initialisation.

    Raises:
        BadInput: the three models are on a line, and so in no plane.
    """
    base, *ends = corners

    def compute() -> list[list[float]]:
        models = [bench.models[name].weights for name in ends]
        total: Any = sum(gram(models, bench.models[base].weights).values())
        return [[float(number) for number in row] for row in total]

    points = [only(name) for name in corners]
    products = np.array(bench.value(["inner products"], points, [], compute))
    if np.linalg.det(products) <= 1e-9 * products[0, 0] * products[1, 1]:
        raise BadInput(
            f"study landscape: {', '.join(corners)} are on a line; choose other fine-tunes "
            "(--model NAME --model NAME)"
        )
    return products


class Plane:
    """The plane through three models.

    Attributes:
        corners: names of the initialisation and the two fine-tunes.
        places: their places (x, y), in the units of the weights.
    """

    def __init__(self, products: NDArray[np.float64], corners: Sequence[str]) -> None:
        """
        Args:
            products: (2, 2) inner products of the fine-tunes, seen from the initialisation.
        """
        self.corners = tuple(corners)
        self._first = math.sqrt(products[0, 0])  # |u1|
        self._slope = products[0, 1] / products[0, 0]  # (u1 . u2) / |u1|^2
        self._height = math.sqrt(products[1, 1] - products[0, 1] * self._slope)  # |v|
        self.places = [
            (0.0, 0.0),
            (self._first, 0.0),
            (self._slope * self._first, self._height),
        ]

    def shares(self, x: float, y: float) -> tuple[float, float, float]:
        """The shares of the initialisation and of the fine-tunes at a place; their sum is 1."""
        second = y / self._height
        first = x / self._first - second * self._slope
        return 1 - first - second, first, second

    def grid(self, side: int) -> tuple[list[float], list[float]]:
        """The x and the y of the grid, which reaches beyond the models on each side."""
        axes = []
        for values in zip(*self.places, strict=True):
            margin = MARGIN * (max(values) - min(values))
            ends = min(values) - margin, max(values) + margin
            axes.append([float(value) for value in np.linspace(*ends, side)])
        return axes[0], axes[1]


def _rows(figures: dict[str, dict[str, float]], shifts: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a point: a split each, and the mean of the shifts."""
    rows: list[dict[str, Any]] = [
        {"split": split, "error": of["errors"] / of["n"], "loss": of["nll"], "n": of["n"]}
        for split, of in figures.items()
    ]
    if shifts:
        of_shifts = [row for row in rows if row["split"] in shifts]
        means = {key: float(np.mean([r[key] for r in of_shifts])) for key in ("error", "loss")}
        rows.append({"split": SHIFTS, **means, "n": sum(row["n"] for row in of_shifts)})
    return rows


@styled
def draw(table: pd.DataFrame, plane: Plane, side: int) -> Figure:
    """Contours of training loss and of each error, with the three models and the lowest point."""
    shown = [split for split in TITLES if split in set(table["split"])]
    figure, grid = panels(
        "Loss and error in the plane through the initialisation and two fine-tunes",
        rows=-(-len(shown) // 2),
        columns=2,
        height=2.35,
        sharex=True,
        sharey=True,
    )
    for axes, split in zip(grid.flat, shown, strict=False):
        of_split = table[table["split"] == split]
        column = "loss" if split == TRAIN else "error"
        values = of_split[column].to_numpy().reshape(side, side)
        values = values if split == TRAIN else 100 * values
        xs, ys = (of_split[axis].to_numpy().reshape(side, side) for axis in ("x", "y"))
        finite = values[np.isfinite(values)]
        levels = np.unique(np.quantile(finite, np.linspace(0, 1, 11)))
        if len(levels) > 2:
            axes.contourf(xs, ys, values, levels, cmap="cividis", extend="both")
            lines = axes.contour(xs, ys, values, levels[1:-1:2], colors="#ffffff", linewidths=0.6)
            labels = axes.clabel(lines, fmt="%.2g" if split == TRAIN else "%.1f", fontsize=7.5)
            for label in labels:  # to be read on any colour
                label.set_path_effects([withStroke(linewidth=1.6, foreground="#303236")])
        kinds = ("probe", "best single", "best single")
        for (x, y), kind in zip(plane.places, kinds, strict=True):
            mark(axes, kind, x, y, markeredgecolor="#ffffff", markeredgewidth=0.8)
        lowest = np.unravel_index(np.nanargmin(values), values.shape)
        axes.plot(
            xs[lowest], ys[lowest], "*", color="#d95f0e", markersize=11, markeredgecolor="#ffffff"
        )
        axes.set_title(TITLES[split])
        axes.set_aspect("equal", adjustable="box")
        axes.set_xticks([])
        axes.set_yticks([])
    for axes in grid.flat[len(shown) :]:
        axes.remove()
    figure.supxlabel("× initialisation   ◆ fine-tunes   ★ lowest", fontsize=9.5)
    return figure


def _sentence(bench: Bench, table: pd.DataFrame, corners: Sequence[str]) -> str:
    """The point that is best on held-out, compared on test and shifts with the better fine-tune."""
    heldout = table[table["split"] == "heldout"]
    best = heldout.sort_values(["error", "loss"], kind="stable").iloc[0]
    shares = [float(best[end]) for end in ENDS]
    point = combination(dict(zip(corners, shares, strict=True)))
    between = shares[1] > 0 and shares[2] > 0
    told = ", ".join(
        f"{name} {percent(share, 0)} %" for name, share in zip(corners, shares, strict=True)
    )
    where = "lies between" if between else "does not lie between"
    single = max(corners[1:], key=lambda name: bench.accuracy(only(name), "heldout"))
    parts = [
        f"Of {len(heldout):,} points the one with the fewest held-out errors {where} the two "
        f"fine-tunes ({told})."
    ]
    holds = between
    for split in ["test", *([SHIFTS] if bench.shifts else [])]:
        compared = difference(bench, bench.rights(point, split), bench.rights(only(single), split))
        holds &= compared.low > 0
        parts.append(f"{compared.sentence(split, 'it', single)}.")
    parts.append(
        "So the paper's finding, that a point between two fine-tunes is better than both, "
        + ("shows here." if holds else "does not show here beyond noise.")
    )
    return " ".join(parts)


STUDY = Study(run, takes=("models", "points"), fine_tunes=2, base=True, images=1000)
