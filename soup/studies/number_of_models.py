"""Number of models: best single, soups and ensembles of K fine-tunes, for every K.

Wortsman et al., "Model soups", ICML 2022: over random orders of the models, the greedy soup of the
first K is never below the best single model of them, on test and under shift; it is above the
uniform soup on test; an ensemble is above it on test and below it under shift.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from soup.config.studies import StudyOptions
from soup.report import formatting
from soup.report.method_curves import method_curves
from soup.studies.bench import Bench
from soup.studies.best_of_count import BAND
from soup.studies.study import Findings, Study
from soup.studies.subset_methods import METHODS, SubsetMethods

ORDERS = 5
# What the paper says of each split: this method is at or above that one.
CLAIMS = {
    "heldout": [],
    "test": [("greedy", "best single"), ("greedy", "uniform"), ("ensemble", "greedy")],
    "shifts": [("greedy", "best single"), ("greedy", "ensemble")],
}


def run(bench: Bench, options: StudyOptions) -> Findings:
    """Score each method on the first K models of random orders.

    The table has the columns method, split, x (K), mean, low, high (of `BAND` of the orders) and
    orders.
    """
    splits = [split for split in bench.splits if split != "heldout"]
    orders = _orders(bench.ranked, options.orders or ORDERS, options.seed)
    methods = SubsetMethods(bench)
    scores: dict[tuple[str, str, int], list[float]] = {}
    with bench.counted("number of models", len(orders) * len(bench.ranked)) as advance:
        for order in orders:
            ensembles = methods.growing_ensembles(order, splits)
            for count in range(1, len(order) + 1):
                names = order[:count]
                for method in METHODS:
                    accuracies = (
                        ensembles[count - 1]
                        if method == "ensemble"
                        else methods.accuracy(method, names, splits)
                    )
                    for split, accuracy in zip(splits, accuracies, strict=True):
                        scores.setdefault((method, split, count), []).append(accuracy)
                advance()
    tails = [(1 - BAND) / 2, (1 + BAND) / 2]
    rows = [
        (*key, float(np.mean(of_key)), *map(float, np.quantile(of_key, tails)), len(of_key))
        for key, of_key in scores.items()
    ]
    columns = ["method", "split", "x", "mean", "low", "high", "orders"]
    table = pd.DataFrame(rows, columns=columns)
    figure = method_curves(
        table, splits, "Models", "Accuracy by number of models", log=len(bench.ranked) > 16
    )
    return Findings(table, figure, sentence(table))


def sentence(table: pd.DataFrame) -> str:
    """What the table says of each claim of the paper, and whether the finding shows."""
    models, orders = int(table["x"].max()), int(table["orders"].max())
    mean = table.set_index(["method", "split", "x"])["mean"]
    counts = [count for count in range(2, models + 1) if ("greedy", "test", count) in mean.index]
    told, missing = [], []
    for split in dict.fromkeys(table["split"]):
        parts = []
        for high, low in CLAIMS[split]:
            gaps = [float(mean[high, split, k] - mean[low, split, k]) for k in counts]
            holds = sum(gap >= -1e-12 for gap in gaps)
            parts.append(
                f"{high} is at or above {low} for {holds} of {len(gaps)} numbers of models from 2 "
                f"on ({formatting.points(gaps[-1])} with all {models})"
            )
            if holds < len(gaps):
                missing.append(f"{high} above {low} {_where(split)}")
            elif max(gaps) < 1e-12:  # at every number it holds, and says nothing
                missing.append(f"{high} above {low} {_where(split)} (the two are equal)")
        told.append(f"{_where(split).capitalize()}, {'; '.join(parts)}.")
    drawn = f"Means over {orders} random orders of {models} models."
    if missing:
        verdict = f"The paper's finding does not show at every number: {', '.join(missing)}."
    else:
        verdict = "The paper's finding shows."
    return " ".join([*told, drawn, verdict])


def _where(split: str) -> str:
    return "under shift" if split == "shifts" else f"on {formatting.split(split)}"


def _orders(names: Sequence[str], orders: int, seed: int) -> list[tuple[str, ...]]:
    """Random orders; the first ones are the same however many there are."""
    every = []
    for number in range(orders):
        rng = np.random.default_rng([seed, number])
        every.append(tuple(str(name) for name in rng.permutation(sorted(names))))
    return every


STUDY = Study(run, takes=("orders",))
