"""Weak pretraining: the same sweep from a base that was pretrained on less.

Wortsman et al., "Model soups", ICML 2022: with a ViT-B/32 that was pretrained on ImageNet-22k, less
than CLIP's data, soups still gain, but less.
"""

from typing import Any

import numpy as np
import pandas as pd

from soup.config.studies import StudyOptions
from soup.errors import BadInput
from soup.evaluation.metrics import Interval, bootstrap
from soup.report.gain_rows import gain_rows
from soup.studies.bench import Bench
from soup.studies.group_gains import Group, group_gains, mean_gains, told, where, without_heldout
from soup.studies.study import Findings, Study
from soup.studies.subset_methods import SubsetMethods
from soup.studies.wording import percent, points


def run(bench: Bench, _options: StudyOptions) -> Findings:
    """Compare the gains of soups in two sweeps; the other is that of the weaker base.

    The table is that of `group_gains`, the kinds being the two experiments.

    Raises:
        BadInput: there is no other sweep, there are several, or its test examples are others.
    """
    if len(bench.others) != 1:
        raise BadInput(
            "study weak-pretraining needs one other finished sweep, from a base that was "
            f"pretrained on less, and got {len(bench.others)}: run it by python -m flows pipeline "
            "--params WEAK.yaml, and name it by --other WEAK.yaml"
        )
    ((name, other),) = bench.others.items()
    splits = [split for split in without_heldout(bench.splits) if split in other.splits]
    for split in ("test", *bench.shifts):
        ours = bench.targets[split].labels
        theirs = other.targets[split].labels if split in other.targets else None
        if theirs is None or not np.array_equal(ours, theirs):
            raise BadInput(
                "study weak-pretraining compares sweeps on the same examples, and those of "
                f"{split} differ in {name}: give both parameter files the same data"
            )
    both = {bench.name: bench, name: other}
    table = pd.concat(
        [group_gains(of, [Group(n, "all runs", of.ranked)]) for n, of in both.items()],
        ignore_index=True,
    )
    figure = gain_rows(mean_gains(table), splits, "Gain of soups from two bases")
    return Findings(table, figure, _sentence(bench, other, name, table, splits))


def gain_difference(bench: Bench, other: Bench, method: str, split: str) -> tuple[float, Interval]:
    """The gain of a method in the first sweep less that in the other, and its interval.

    Both are over the best single model of their sweep, on the same examples, which the bootstrap
    resamples together.
    """
    gains: list[list[Any]] = []
    for of in (bench, other):
        methods = SubsetMethods(of)
        soup, single = (methods.rights(m, of.ranked, split) for m in (method, "best single"))
        gains.append([a.astype(float) - b.astype(float) for a, b in zip(soup, single, strict=True)])
    paired = [first - second for first, second in zip(*gains, strict=True)]
    mean = float(np.mean([part.mean() for part in paired]))
    return mean, bootstrap(paired, *bench.resampling)


def _sentence(bench: Bench, other: Bench, name: str, table: pd.DataFrame, splits: list[str]) -> str:
    means = mean_gains(table)
    parts, smaller = [], []
    accuracy = table.set_index(["kind", "split", "method"])["accuracy"]
    for kind in (bench.name, name):
        single = ", ".join(
            f"{percent(float(accuracy[kind, split, 'best single']), 2)}% {where(split)}"
            for split in splits
        )
        parts.append(
            f"{kind}: best single model {single}; gain of the uniform soup "
            f"{told(means, kind, 'uniform', splits)}, of the greedy soup "
            f"{told(means, kind, 'greedy', splits)} points"
        )
    for split in splits:
        value, (low, high) = gain_difference(bench, other, "greedy", split)
        smaller.append((value, low, high, split))
    differences = "; ".join(
        f"{points(value)} {where(split)} (interval {points(low)} to {points(high)})"
        for value, low, high, split in smaller
    )
    clear = [where(split) for _, low, _, split in smaller if low > 0]
    if clear:
        verdict = f"That soups gain less from the weaker base shows {' and '.join(clear)}."
    else:
        verdict = "That soups gain less from the weaker base does not show beyond noise."
    return (
        f"{'. '.join(parts)}. The greedy soup's gain in {bench.name} less that in {name}: "
        f"{differences}. {verdict}"
    )


STUDY = Study(run, takes=("others",), fine_tunes=2)
