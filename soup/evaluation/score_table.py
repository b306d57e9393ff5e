"""The columns of the result tables for a score that is a function of counts (F1, Matthews)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from soup.evaluation.count_tests import Answers, compare, interval, value
from soup.evaluation.metrics import Score
from soup.evaluation.result_tables import SHIFTS, Model, Resampling
from soup.evaluation.scores import ConfusionScore
from soup.evaluation.targets import Targets


def with_score(
    results: pd.DataFrame,
    models: Sequence[Model],
    shifts: Sequence[str],
    name: str,
    score: ConfusionScore,
    targets: Mapping[str, Targets],
    resampling: Resampling,
) -> pd.DataFrame:
    """The table of `result_tables.table` with the score and the bounds of its interval.

    The columns are name, name_low and name_high, with the name of the score. They are NaN if a
    split lacks classes, because the score would not be comparable.

    Args:
        name: name of the score.
        targets: split -> the labels with which answers are compared.
    """
    classes = max(len(target.groups) for target in targets.values())
    by_name = {model.name: model for model in models}
    columns: dict[str, list[float]] = {name: [], f"{name}_low": [], f"{name}_high": []}
    for row in results[["model", "split"]].to_dict("records"):
        splits = shifts if row["split"] == SHIFTS else [row["split"]]
        groups = _groups(by_name[row["model"]], splits, targets, classes)
        values = [np.nan] * 3
        if groups:
            bounds = interval(score, groups, classes, *resampling)
            values = [value(score, groups, classes), *bounds]
        for column, figure in zip(columns, values, strict=True):
            columns[column].append(figure)
    return results.assign(**columns)


def with_score_test(
    tests: pd.DataFrame,
    soup: Model,
    single: Model,
    shifts: Sequence[str],
    name: str,
    score: ConfusionScore,
    targets: Mapping[str, Targets],
    resampling: Resampling,
) -> pd.DataFrame:
    """The table of `result_tables.paired` with the difference of scores, its interval and p-value.

    The columns are name_difference, name_low, name_high and name_p. Arguments as in `with_score`.
    """
    classes = max(len(target.groups) for target in targets.values())
    rows: list[list[float]] = []
    for split in tests["split"]:
        splits = shifts if split == SHIFTS else [split]
        a, b = (_groups(model, splits, targets, classes) for model in (soup, single))
        made = compare(score, a, b, classes, *resampling) if a and b else None
        rows.append(
            [np.nan] * 4 if made is None else [made.difference, *made.interval, made.p_value]
        )
    names = [f"{name}_{figure}" for figure in ("difference", "low", "high", "p")]
    return tests.assign(**{n: [row[i] for row in rows] for i, n in enumerate(names)})


def score_figures(results: pd.DataFrame, tests: pd.DataFrame, recipe: str, name: str) -> Any:
    """The main figures of the score by split, as `result_tables.headline` has those of accuracy."""
    by_kind = results.drop_duplicates(["kind", "split"]).set_index(["kind", "split"])[name]
    kinds = {"best_single": "best single", "soup": recipe, "ensemble": "ensemble"}
    figures = {}
    for test in tests.to_dict("records"):
        split = test["split"]
        if np.isnan(test[f"{name}_p"]):
            continue
        scores = {key: round(float(by_kind[kind, split]), 6) for key, kind in kinds.items()}
        columns = {"gain": "difference", "gain_low": "low", "gain_high": "high"}
        gain = {key: round(float(test[f"{name}_{column}"]), 6) for key, column in columns.items()}
        figures[split] = scores | gain | {"p_value": float(f"{test[f'{name}_p']:.3g}")}
    return figures


def _groups(
    model: Model, splits: Sequence[str], targets: Mapping[str, Targets], classes: int
) -> list[Answers]:
    """The answers of a model to each split; empty if a split lacks classes."""
    groups = []
    for split in splits:
        target, score = targets[split], model.scores[split]
        answers = score.answers if isinstance(score, Score) else None
        if len(target.groups) != classes or target.labels.ndim != 1 or answers is None:
            return []
        groups.append(Answers(target.labels, answers))
    return groups
