"""Pairs of a sweep's fine-tunes, and in which hyperparameters the two differ."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from soup.config.studies import StudyOptions
from soup.studies.bench import Bench
from soup.studies.statistics import Pair

# What two runs may differ in alone, beside the seed -> its name, its marker and its colour.
RATE, AUGMENTATION, SEED, SEVERAL = "rate", "augmentation", "seed", "several"
NAMES = {"lr": RATE, "augment": AUGMENTATION}
ONE_RUN = "average of one run"  # a run and its moving average
MARKS = {
    SEED: ("o", "#1f83c4"),
    RATE: ("^", "#d95f0e"),
    AUGMENTATION: ("s", "#0f9d76"),
    SEVERAL: ("D", "#7d8087"),
}
OTHER = ("v", "#bb6699")


def pairs_of(bench: Bench, options: StudyOptions) -> list[Pair]:
    """The pairs that are asked for: all of the fine-tunes, or as many as `options.pairs`."""
    names = options.models or bench.ranked
    pairs = [*itertools.combinations(names, 2)]
    if options.pairs is None or options.pairs >= len(pairs):
        return pairs
    rng = np.random.default_rng(options.seed)
    chosen = rng.choice(len(pairs), options.pairs, replace=False)
    return [pairs[index] for index in sorted(chosen)]


def differs(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """What two runs differ in, by their hyperparameters.

    Returns:
        "seed" if nothing else differs; the name of the one hyperparameter that differs beside the
        seed; "several"; or `ONE_RUN`.
    """
    keys = [key for key in {**first, **second} if first.get(key) != second.get(key)]
    others = [key for key in keys if key != "seed"]
    if not keys:
        return ONE_RUN
    if not others:
        return SEED
    return NAMES.get(others[0], others[0].replace("_", " ")) if len(others) == 1 else SEVERAL


def in_order(kinds: Sequence[str]) -> list[str]:
    """The kinds of difference that occur, those of the paper first."""
    return sorted(set(kinds), key=lambda kind: ([*MARKS].index(kind) if kind in MARKS else 9, kind))
