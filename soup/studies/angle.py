"""angle: the angle between two fine-tunes, and what averaging them gains.

Wortsman et al., "Model soups", ICML 2022, section 4. The angle is that between theta1 - theta0 and
theta2 - theta0, with theta0 the initialisation. The gain is the accuracy of the average of the two
less the mean of their accuracies.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from soup.config.studies import StudyOptions
from soup.evaluation.diagnosis.geometry import measure
from soup.report import formatting
from soup.studies.bench import Bench
from soup.studies.drawing import legend_below, panels, styled, trend, zero
from soup.studies.pairs import MARKS, OTHER, SEVERAL, differs, in_order, pairs_of
from soup.studies.point import mean, only
from soup.studies.statistics import mean_interval, pair_correlation
from soup.studies.study import Findings, Study
from soup.studies.wording import place, points


def run(bench: Bench, options: StudyOptions) -> Findings:
    """The study; its table has a row for each pair and split."""
    pairs = pairs_of(bench, options)
    splits = [split for split in bench.splits if split != "heldout"]
    angles = angles_of(bench, sorted({name for pair in pairs for name in pair}))
    rows: list[dict[str, Any]] = []
    with bench.counted("angle", len(pairs)) as advance:
        for first, second in pairs:
            models = bench.models[first].settings, bench.models[second].settings
            for split in splits:
                ends = [bench.accuracy(only(name), split) for name in (first, second)]
                average = bench.accuracy(mean([first, second]), split)
                rows.append(
                    {
                        "first": first,
                        "second": second,
                        "differs": differs(*models),
                        "angle": angles[first, second],
                        "split": split,
                        "average": average,
                        "ends": float(np.mean(ends)),
                        "gain": average - float(np.mean(ends)),
                    }
                )
            advance()
    table = pd.DataFrame(rows)
    return Findings(table, draw(table), sentence(table, options.seed))


def angles_of(bench: Bench, names: Sequence[str]) -> dict[tuple[str, str], float]:
    """The angles at the initialisation, in degrees; NaN for a model that is equal to it."""
    assert bench.base is not None
    base = bench.models[bench.base].weights

    def compute() -> list[list[float | None]]:
        weights = {name: bench.models[name].weights for name in names}
        angles = measure(weights, base)["all"].angles
        assert angles is not None
        return [[float(a) if np.isfinite(a) else None for a in row] for row in angles]

    corners = [only(name) for name in (bench.base, *names)]
    angles = bench.value(["angles"], corners, [], compute)
    return {
        (first, second): float("nan") if angles[i][j] is None else angles[i][j]
        for i, first in enumerate(names)
        for j, second in enumerate(names)
    }


@styled
def draw(table: pd.DataFrame) -> Figure:
    """Gain against angle, a panel for each split, marked by what the two models differ in."""
    splits = [*dict.fromkeys(table["split"])]
    figure, grid = panels(
        "Gain of averaging two fine-tunes against the angle between them",
        rows=len(splits),
        height=2.6,
        sharex=True,
    )
    for axes, split in zip(grid[:, 0], splits, strict=True):
        of_split = table[table["split"] == split].dropna(subset=["angle"])
        for kind in in_order(of_split["differs"]):
            group = of_split[of_split["differs"] == kind]
            marker, colour = MARKS.get(kind, OTHER)
            look = {"markersize": 4.5, "markerfacecolor": "none", "markeredgewidth": 1.0}
            label = "several differ" if kind == SEVERAL else f"{kind} differs"
            axes.plot(
                group["angle"], 100 * group["gain"], marker, color=colour, label=label, **look
            )
        trend(axes, of_split["angle"].tolist(), (100 * of_split["gain"]).tolist())
        zero(axes)
        axes.set_title(formatting.split(split).capitalize())
        axes.set_ylabel("Gain (points)")
    grid[-1, 0].set_xlabel("Angle at the initialisation (degrees)")
    legend_below(figure, grid[0, 0])
    return figure


def sentence(table: pd.DataFrame, seed: int) -> str:
    """The correlation on each split, and the angles by what differs."""
    known = table.dropna(subset=["angle"])
    if known.empty:
        return "There are no angles: one of the two of each pair is equal to the initialisation."
    parts = []
    shows = {}
    for split, of_split in known.groupby("split", sort=False):
        pairs = [*zip(of_split["first"], of_split["second"], strict=True)]
        found = pair_correlation(pairs, [*of_split["angle"]], [*of_split["gain"]], seed)
        low, high = mean_interval([*of_split["gain"]], pairs, seed)
        gain = float(of_split["gain"].mean())
        parts.append(
            f"On {place(str(split))} averaging two fine-tunes gains {points(gain)} "
            f"points over the mean of the two ({points(low)} to {points(high)}), and the rank "
            f"correlation of the gain with the angle is {found}."
        )
        shows[str(split)] = found.low > 0
    one = known.drop_duplicates(["first", "second"])
    means = [
        f"{one.loc[one['differs'] == kind, 'angle'].mean():.0f} degrees where "
        f"{'several things differ' if kind == SEVERAL else f'{kind} differs'}"
        for kind in in_order(one["differs"])
    ]
    parts.append(f"The mean angle is {', '.join(means)}.")
    held = [place(split) for split, does in shows.items() if does]
    missing = [place(split) for split, does in shows.items() if not does]
    finding = "The paper's finding, that a larger angle goes with a larger gain,"
    if held:
        parts.append(f"{finding} shows on {' and '.join(held)}.")
    if missing:
        finding = "It" if held else finding
        parts.append(f"{finding} does not show beyond noise on {' or '.join(missing)}.")
    return " ".join(parts)


STUDY = Study(run, takes=("models", "pairs"), base=True)
