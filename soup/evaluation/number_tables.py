"""The tables of the result where models predict numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from soup.evaluation.number_scores import (
    MEASURE,
    NUMBER_SCORES,
    Numbers,
    compare,
    interval,
    value,
)
from soup.evaluation.result_tables import SHIFTS, Model, Resampling


def number_table(
    models: Sequence[Model], shifts: Sequence[str], resampling: Resampling, measure: str = MEASURE
) -> pd.DataFrame:
    """A row for each model and split, and for each model's mean over the shifts.

    Columns: model, kind, split, n (examples), the measure, low and high (bounds of its bootstrap
    interval), pearson, spearman, mse (mean squared error).

    Args:
        models: their scores are `Numbers`.
        shifts: names of the splits that the mean is taken over; without any there is no mean.
        measure: a key of `NUMBER_SCORES`.
    """
    rows: list[dict[str, Any]] = []
    for model in models:
        for split, groups in _groups(model, shifts).items():
            low, high = interval(NUMBER_SCORES[measure], groups, *resampling)
            named = dict.fromkeys((measure, "pearson", "spearman"))
            rows.append(
                {
                    "model": model.name,
                    "kind": model.kind,
                    "split": split,
                    "n": sum(len(group.labels) for group in groups),
                    **{name: value(NUMBER_SCORES[name], groups) for name in named},
                    "low": low,
                    "high": high,
                    "mse": float(np.mean([group.squared_errors.mean() for group in groups])),
                }
            )
    return pd.DataFrame(rows)


def number_tests(
    soup: Model,
    single: Model,
    shifts: Sequence[str],
    resampling: Resampling,
    measure: str = MEASURE,
) -> pd.DataFrame:
    """Paired tests of the soup against the best single model, split by split.

    Columns: split, soup_closer and single_closer (examples whose number this model predicts
    better), p_value (permutation test), difference (of the measure), low and high (its bounds by
    the paired bootstrap).
    """
    rows: list[dict[str, Any]] = []
    ours, theirs = (_groups(model, shifts) for model in (soup, single))
    for split, a in ours.items():
        b = theirs[split]
        made = compare(NUMBER_SCORES[measure], a, b, *resampling)
        pairs = [(x.squared_errors, y.squared_errors) for x, y in zip(a, b, strict=True)]
        rows.append(
            {
                "split": split,
                "soup_closer": sum(int((x < y).sum()) for x, y in pairs),
                "single_closer": sum(int((y < x).sum()) for x, y in pairs),
                "p_value": made.p_value,
                "difference": made.difference,
                **made.interval._asdict(),
            }
        )
    return pd.DataFrame(rows)


def _groups(model: Model, shifts: Sequence[str]) -> dict[str, list[Numbers]]:
    """The predictions of each row of the table."""
    numbers = {s: score for s, score in model.scores.items() if isinstance(score, Numbers)}
    groups = {split: [predictions] for split, predictions in numbers.items()}
    return groups | ({SHIFTS: [numbers[name] for name in shifts]} if shifts else {})
