"""Turn data frames into the rows of the page's tables."""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from soup.report import formatting
from soup.report.headline import Outcome, outcomes

UNFOLDED_ROWS = 100  # a table with more rows than this shows the first FIRST_ROWS and folds others
FIRST_ROWS = 40
NOT_SETTINGS = ("name", "run_id", "url", "status", "reason", "kept", "heldout_accuracy")


@dataclass(frozen=True)
class Cell:
    """One model on one split: accuracy and its 95% interval as fractions, NaN if unknown."""

    accuracy: float
    low: float
    high: float
    difference: float  # from the accuracy of the best single model
    best: bool  # in its column


@dataclass(frozen=True)
class Row:
    """One model on all splits, with its negative log-likelihood and calibration error on test."""

    model: str
    kind: str
    cells: tuple[Cell, ...]
    nll: float
    ece: float


@dataclass(frozen=True)
class Span:
    """An interval, its middle and zero, on a scale from 0 to 1 that is common to all splits."""

    low: float
    middle: float
    high: float
    zero: float


@dataclass(frozen=True)
class Comparison:
    """The soup compared with the best single model on one split."""

    split: str
    outcome: Outcome
    difference: float
    low: float
    high: float
    p_value: float
    soup_only: float
    single_only: float
    span: Span | None


def splits(results: pd.DataFrame) -> list[str]:
    """Return the splits: held-out, test (by ReaL labels too), mean of shifts, then each shift."""
    order = list(dict.fromkeys(str(split) for split in results["split"]))
    first = [split for split in formatting.SPLITS if split in order]
    return first + [split for split in order if split not in first]


def accuracies(results: pd.DataFrame, kinds: list[str]) -> list[Row]:
    """Return a row for each model of these kinds, in the order of `kinds`."""
    order = splits(results)
    values = {(str(row.model), str(row.split)): row for row in results.itertuples()}
    names = results[results["kind"].isin(kinds)].drop_duplicates("model")
    names = names.sort_values("kind", key=lambda kind: kind.map(kinds.index), kind="stable")
    models = [(str(row.model), str(row.kind)) for row in names.itertuples()]
    single = next(iter(results.loc[results["kind"] == "best single", "model"]), None)

    def number(model: str | None, split: str, column: str) -> float:
        return float(getattr(values.get((str(model), split)), column, math.nan))

    best = {
        split: max((number(model, split, "accuracy") for model, _ in models), key=_nan_last)
        for split in order
        if models
    }

    def cell(model: str, split: str) -> Cell:
        accuracy = number(model, split, "accuracy")
        return Cell(
            accuracy,
            number(model, split, "low"),
            number(model, split, "high"),
            accuracy - number(single, split, "accuracy"),
            accuracy == best[split],
        )

    return [
        Row(
            model,
            kind,
            tuple(cell(model, split) for split in order),
            number(model, "test", "nll"),
            number(model, "test", "ece"),
        )
        for model, kind in models
    ]


def comparisons(tests: pd.DataFrame) -> list[Comparison]:
    """Return the paired tests, in the given order, with the outcome of each."""
    by_split = outcomes(tests)
    numbers = tests[["low", "difference", "high"]].astype(float)
    left = min(0.0, float(numbers.min().min())) if len(tests) else 0.0
    right = max(0.0, float(numbers.max().max())) if len(tests) else 0.0

    def scaled(row: Any) -> Span | None:
        values = (row.low, row.difference, row.high, 0.0)
        if right == left or any(math.isnan(value) for value in values):
            return None
        low, middle, high, zero = (float(value - left) / (right - left) for value in values)
        return Span(low, middle, high, zero)

    return [
        Comparison(
            str(row.split),
            by_split[str(row.split)],
            float(row.difference),
            float(row.low),
            float(row.high),
            float(row.p_value),
            float(row.soup_only),
            float(row.single_only),
            scaled(row),
        )
        for row in tests.itertuples()
    ]


def settings(ingredients: pd.DataFrame) -> list[str]:
    """Return the names of the columns that are hyperparameters."""
    return [str(column) for column in ingredients.columns if column not in NOT_SETTINGS]


def varied(ingredients: pd.DataFrame) -> list[str]:
    """The hyperparameters that differ between ingredients; all of them for a single fine-tune."""
    names = settings(ingredients)
    several = ingredients[names].notna().any(axis=1).sum() > 1
    return [name for name in names if not several or ingredients[name].nunique() > 1]


def constant(ingredients: pd.DataFrame) -> list[tuple[str, Any]]:
    """The other hyperparameters, each with the value that all ingredients share."""
    shown = varied(ingredients)
    names = [name for name in settings(ingredients) if name not in shown]
    values = {name: ingredients[name].dropna() for name in names}
    return [(name, column.iloc[0]) for name, column in values.items() if len(column)]


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a dictionary for each row."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def folded(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Split rows into those that are shown and those that a reader may unfold."""
    shown = len(rows) if len(rows) <= UNFOLDED_ROWS else FIRST_ROWS
    return rows[:shown], rows[shown:]


def _nan_last(number: float) -> float:
    return -math.inf if math.isnan(number) else number
