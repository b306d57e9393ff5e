"""large-rates: the barrier between fine-tunes as their learning rate grows.

Wortsman et al., "Model soups", ICML 2022, section 4 (a large learning rate shows a barrier); the
barrier is that of `soup.evaluation.diagnosis.barrier`: how far the error on the line between two
models rises above the straight line between the errors of the two.

The fine-tunes are sorted by rate, and each is joined to the next. So both models of a pair have
about one rate.
"""

import itertools
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from soup.config.studies import StudyOptions
from soup.errors import BadInput
from soup.evaluation.diagnosis.barrier import Line
from soup.evaluation.metrics import bootstrap
from soup.report import formatting
from soup.report.methods import mark
from soup.report.style import INK
from soup.studies.bench import Bench
from soup.studies.drawing import logarithmic, panels, styled, zero
from soup.studies.point import between, mean, only
from soup.studies.statistics import correlation, share
from soup.studies.study import Findings, Study
from soup.studies.wording import place

POINTS = 5  # among them those that `soup-ensemble` uses


def run(bench: Bench, options: StudyOptions) -> Findings:
    """The study; its table has a row for each pair, split and position on the line."""
    rates = {name: float(bench.models[name].settings.get("lr", np.nan)) for name in bench.ranked}
    names = options.models or [name for name in bench.ranked if np.isfinite(rates[name])]
    names = sorted(names, key=lambda name: (rates[name], name))
    pairs = [*itertools.pairwise(names)]
    if len({rates[name] for name in names}) < 2:
        raise BadInput(
            "study large-rates needs fine-tunes of different learning rates: give a range of "
            "sweep.space.lr, then python -m flows finetune"
        )
    positions = np.linspace(0, 1, options.points or POINTS)
    rows: list[dict[str, Any]] = []
    with bench.counted("large-rates", len(pairs)) as advance:
        for first, second in pairs:
            rate = float(np.sqrt(rates[first] * rates[second]))
            for split in bench.splits:
                points = [between(only(first), only(second), float(t)) for t in positions]
                errors = np.array([1 - bench.accuracy(point, split) for point in points])
                line = Line(positions, errors)
                middle = middle_rise(bench, first, second, split)
                rows += [
                    {
                        "first": first,
                        "second": second,
                        "rate": rate,
                        "split": split,
                        "position": float(t),
                        "error": float(error),
                        "excess": float(excess),
                        "barrier": line.barrier,
                        **middle,
                    }
                    for t, error, excess in zip(positions, errors, line.excess, strict=True)
                ]
            advance()
    table = pd.DataFrame(rows)
    return Findings(table, draw(table), sentence(table, options.seed))


def middle_rise(bench: Bench, first: str, second: str, split: str) -> dict[str, float]:
    """The error of the average of two models less the mean of theirs, with its interval.

    Unlike the barrier, which is the largest of several rises, it is not too high by selection.
    """
    resamples, confidence, seed = bench.resampling
    ends = [bench.rights(only(name), split) for name in (first, second)]
    middles = bench.rights(mean([first, second]), split)
    rises = [
        (a.astype(float) + b.astype(float)) / 2 - m.astype(float)
        for a, b, m in zip(*ends, middles, strict=True)
    ]
    low, high = bootstrap(rises, resamples, confidence, seed)
    return {"middle": float(np.mean([r.mean() for r in rises])), "low": low, "high": high}


@styled
def draw(table: pd.DataFrame) -> Figure:
    """The rise at the middle with its interval, and the barrier, against the learning rate."""
    pairs = table.drop_duplicates(["first", "second", "split"])
    splits = [split for split in dict.fromkeys(pairs["split"]) if split != "heldout"]
    figure, grid = panels(
        "Barrier between fine-tunes against their learning rate",
        rows=len(splits),
        height=2.4,
        sharex=True,
    )
    _, colour, _ = mark("uniform")
    for axes, split in zip(grid[:, 0], splits, strict=True):
        of_split = pairs[pairs["split"] == split]
        middle, low, high = (100 * of_split[key] for key in ("middle", "low", "high"))
        axes.vlines(of_split["rate"], low, high, color=colour, linewidth=0.9, alpha=0.65)
        axes.plot(of_split["rate"], middle, "o", color=colour, markersize=4.5)
        axes.plot(of_split["rate"], 100 * of_split["barrier"], "_", color=INK, markersize=9)
        logarithmic(axes)
        axes.set_title(formatting.split(split).capitalize())
        axes.set_ylabel("Rise (points)")
        zero(axes)
    grid[-1, 0].set_xlabel("Learning rate (●: at the middle of the line; –: its highest)")
    return figure


def sentence(table: pd.DataFrame, seed: int) -> str:
    """From which rate on there is a barrier, and whether it grows with the rate."""
    per_pair = table.drop_duplicates(["first", "second", "split"])
    parts = []
    for split in ("test", "shifts"):
        of_split = per_pair[per_pair["split"] == split]
        if of_split.empty:
            continue
        pairs = len(of_split)
        found = correlation([*of_split["rate"]], [*of_split["middle"]], seed)
        high = of_split[of_split["low"] > 0]
        none = of_split[of_split["high"] < 0]
        told = (
            f", the lowest at a rate of {formatting.setting(float(high['rate'].min()))}"
            if len(high)
            else ""
        )
        parts.append(
            f"On {place(split)} the error at the middle is above the mean of the ends, "
            f"beyond noise, for {share(len(high), pairs)} pairs of neighbouring rates"
            f"{told}; it is below for {share(len(none), pairs)}. The rank correlation of the "
            f"rise and the rate is {found}."
        )
        if split == "test":
            shows = bool(len(high)) and found.value > 0 and found.p < 0.05
    finding = "The paper's finding, that a barrier rises with large learning rates,"
    rates = per_pair["rate"]
    ends = " to ".join(formatting.setting(float(end)) for end in (rates.min(), rates.max()))
    if shows:
        parts.append(f"{finding} shows here.")
    else:
        parts.append(f"{finding} does not show on test at the rates of this sweep, {ends}.")
    return " ".join(parts)


STUDY = Study(run, takes=("models", "points"))
