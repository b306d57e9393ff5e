"""How the hyperparameters of a pool go with its accuracies, from tables alone."""

from collections.abc import Sequence
from itertools import pairwise

import pandas as pd


def rank_correlations(
    scores: pd.DataFrame, settings: pd.DataFrame, splits: Sequence[str]
) -> pd.DataFrame:
    """Spearman's rank correlation of each number among the settings with each accuracy.

    Args:
        scores: a row for each model (the index), a column for each split.
        settings: a row for each model, a column for each setting; models without one are left
            out, and so are settings that are no numbers or all the same.

    Returns:
        Columns setting, models, and for each split the correlation, 'split p' (its p-value),
        'split low third' and 'split high third': the mean accuracies of the thirds of the models
        with the smallest and the largest values.
    """
    from scipy.stats import spearmanr

    rows = []
    for name in settings.columns:
        values = pd.to_numeric(settings[name], errors="coerce").dropna()
        values = values[values.index.isin(scores.index)].sort_values(kind="stable")
        if values.nunique() < 2 or len(values) < 3:
            continue
        row: dict[str, object] = {"setting": name, "models": len(values)}
        third = len(values) // 3
        for split in splits:
            accuracy = scores.loc[values.index, split]
            rho, p_value = spearmanr(values, accuracy)
            row |= {split: float(rho), f"{split} p": float(p_value)}
            row |= {f"{split} low third": float(accuracy.iloc[:third].mean())}
            row |= {f"{split} high third": float(accuracy.iloc[-third:].mean())}
        rows.append(row)
    figures = ("", " p", " low third", " high third")
    columns = [f"{split}{figure}" for split in splits for figure in figures]
    return pd.DataFrame(rows, columns=["setting", "models", *columns])


def means_by_range(
    scores: pd.DataFrame, values: pd.Series, edges: Sequence[float], splits: Sequence[str]
) -> pd.DataFrame:
    """The mean accuracy of the models whose setting lies in each range.

    Args:
        values: a setting of each model; NaN where it has none.
        edges: between the ranges, ascending; a value on an edge belongs to the range below it.

    Returns:
        Columns above, to (NaN: no bound), models, and the splits.
    """
    known = values.dropna()
    bounds = [float("-inf"), *edges, float("inf")]
    rows = []
    for above, to in pairwise(bounds):
        inside = known[(known > above) & (known <= to)].index
        means = scores.loc[inside, [*splits]].mean()
        rows.append({"above": above, "to": to, "models": len(inside), **means})
    ranges = pd.DataFrame(rows)
    infinite = ranges[["above", "to"]].abs() == float("inf")
    ranges[["above", "to"]] = ranges[["above", "to"]].mask(infinite)
    return ranges
