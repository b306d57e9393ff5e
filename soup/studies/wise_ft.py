"""wise-ft: curves from the initialisation to single models, soups and the ensemble.

Wortsman et al., "Robust fine-tuning of zero-shot models" (WiSE-FT), CVPR 2022, and "Model soups",
ICML 2022: theta = (1 - a) theta_0 + a theta, with a from 0 to 1. The curve of the ensemble is that
of logits: (1 - a) f(theta_0) + a f_ens.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from soup.config.studies import StudyOptions
from soup.evaluation.metrics import Correct
from soup.report.methods import mark as mark_of
from soup.studies.bench import SHIFTS, Bench
from soup.studies.drawing import legend_below, mark, panels, styled
from soup.studies.point import Point, between, only
from soup.studies.statistics import share
from soup.studies.study import Findings, Study
from soup.studies.wording import difference

POINTS = 11
FINE = 50  # places on the line between two points of a curve
SINGLES = 8  # most single models whose curves are drawn, unless they are named
ENSEMBLE, SINGLE = "ensemble", "best single"


def run(bench: Bench, options: StudyOptions) -> Findings:
    """The study; its table has a row for each curve, position and split."""
    named = options.models or bench.ranked[:SINGLES]
    singles = [name for name in bench.ranked if name in named]  # the best first
    ends: dict[str, Point] = {name: only(name) for name in singles}
    ends |= {recipe: bench.soup(recipe) for recipe in bench.recipes}
    positions = np.linspace(0, 1, options.points or POINTS)
    rows: list[dict[str, Any]] = []
    with bench.counted("wise-ft", len(ends) * len(positions)) as advance:
        for name, end in ends.items():
            kind = _kind(name, singles)
            for a in positions:
                point = _on_curve(bench, end, float(a))
                rows += [
                    {"curve": name, "kind": kind, "position": a, "split": split, "accuracy": value}
                    for split in bench.splits
                    for value in [bench.accuracy(point, split)]
                ]
                advance()
    for a in positions:
        for split in bench.splits:
            right = ensemble(bench, float(a), split)
            value = float(np.mean([of.mean() for of in right]))
            row = {"curve": ENSEMBLE, "kind": ENSEMBLE, "position": a}
            rows.append(row | {"split": split, "accuracy": value})
    table = pd.DataFrame(rows)
    return Findings(table, draw(table), sentence(bench, table, singles, ends))


def _kind(name: str, singles: Sequence[str]) -> str:
    if name not in singles:
        return name
    return SINGLE if name == singles[0] else "ingredient"


def _on_curve(bench: Bench, end: Point, a: float) -> Point:
    assert bench.base is not None
    return between(only(bench.base), end, a)


def ensemble(bench: Bench, a: float, split: str) -> list[Correct]:
    """Which examples (1 - a) f(theta_0) + a f_ens classifies correctly, as `Bench.rights`."""
    assert bench.base is not None
    weights = dict.fromkeys(bench.candidates, a / len(bench.candidates))
    weights[bench.base] = weights.get(bench.base, 0.0) + 1 - a
    return bench.ensemble_rights({name: c for name, c in weights.items() if c}, split)


def beyond(curves: pd.DataFrame, points: pd.DataFrame) -> int:
    """How many points no point of any curve equals or beats on both test and the shifts.

    Args:
        curves: columns curve, test and shifts; a curve is the line through its points.
        points: columns test and shifts.
    """
    steps = np.linspace(0, 1, FINE)[:, None]
    on_lines = []
    for _, curve in curves.groupby("curve", sort=False):
        corners = curve[["test", SHIFTS]].to_numpy()
        on_lines += [start + steps * (end - start) for start, end in pairwise(corners)]
    lines = np.concatenate(on_lines) + 1e-12
    wanted = points[["test", SHIFTS]].to_numpy()
    return sum(not bool((lines >= point).all(axis=1).any()) for point in wanted)


@styled
def draw(table: pd.DataFrame) -> Figure:
    """Mean accuracy under shift against accuracy on test, a line for each curve."""
    wide = _wide(table)
    figure, grid = panels("WiSE-FT curves from the initialisation", height=3.9)
    axes = grid[0, 0]
    for _, curve in wide.groupby("curve", sort=False):
        kind = str(curve["kind"].iloc[0])
        plain = kind == "ingredient"
        _, colour, _ = mark_of(kind)
        label = None if plain else f"{kind} soup" if kind not in (SINGLE, ENSEMBLE) else kind
        look = {"linewidth": 0.6 if plain else 1.3, "zorder": 2 if plain else 3}
        axes.plot(100 * curve["test"], 100 * curve[SHIFTS], color=colour, label=label, **look)
        last = curve.iloc[-1]
        mark(axes, kind, 100 * last["test"], 100 * last[SHIFTS], clip_on=True)
    start = wide.iloc[0]
    mark(axes, "probe", 100 * start["test"], 100 * start[SHIFTS], clip_on=True)
    axes.set_title("× initialisation; grey: other fine-tunes")
    axes.set_xlabel("Test accuracy (%)")
    axes.set_ylabel("Mean accuracy under shift (%)")
    axes.margins(0.06)
    legend_below(figure, axes)
    return figure


def _wide(table: pd.DataFrame) -> pd.DataFrame:
    index = ["curve", "kind", "position"]
    wide = table.pivot_table("accuracy", index, "split", sort=False)
    return wide.reset_index()


def sentence(
    bench: Bench, table: pd.DataFrame, singles: Sequence[str], ends: Mapping[str, Point]
) -> str:
    """Whether single models reach beyond the greedy soup's curve, and a comparison at the a that
    held-out chooses for each."""
    wide = _wide(table)
    greedy = wide[wide["curve"] == "greedy"]
    others = wide[wide["curve"].isin(singles)]
    reach = beyond(greedy, others)
    back = beyond(others, greedy)
    parts = [
        f"Of the points on the curves of {len(singles)} single models, {share(reach, len(others))} "
        "lie beyond the greedy soup's curve (no point of it is as good on both test and the mean "
        f"of shifts); of the greedy soup's points, {share(back, len(greedy))} lie beyond all of "
        "theirs."
    ]
    chosen = {name: _chosen(wide, name) for name in ("greedy", singles[0])}
    models = {name: _on_curve(bench, ends[name], a) for name, a in chosen.items()}
    parts.append(
        f"Held-out chooses a = {chosen['greedy']:.2g} for the greedy soup and "
        f"{chosen[singles[0]]:.2g} for the best of these models ({singles[0]})."
    )
    better = []
    for split in ("test", SHIFTS):
        rights = [bench.rights(models[name], split) for name in ("greedy", singles[0])]
        compared = difference(bench, *rights)
        better.append(compared.low > 0)
        parts.append(f"{compared.sentence(split, 'the first', 'the second')}.")
    finding = "The paper's finding, that soups lie beyond every single model's curve,"
    if reach == 0 and back and any(better):
        parts.append(f"{finding} shows here.")
    elif reach == 0 and back:
        parts.append(f"{finding} shows in the accuracies, but not beyond noise.")
    else:
        parts.append(f"{finding} does not show here.")
    return " ".join(parts)


def _chosen(wide: pd.DataFrame, name: str) -> float:
    """The position with the highest held-out accuracy, the largest of equal ones."""
    curve = wide[wide["curve"] == name]
    best = curve[curve["heldout"] == curve["heldout"].max()]
    return float(best["position"].max())


STUDY = Study(run, takes=("models", "points"), fine_tunes=2, base=True, shifts=True)
