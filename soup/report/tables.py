"""Frames turned into the rows of the page's tables."""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from soup.report import formatting
from soup.report.headline import Outcome, outcomes

FEW, MOST = 40, 100  # rows shown of a table that is folded, and of one that is not
FIXED = ("name", "run_id", "url", "status", "reason", "kept", "heldout_accuracy")


@dataclass(frozen=True)
class Cell:
    """One model on one split; fractions, NaN where unknown."""

    accuracy: float
    low: float
    high: float
    difference: float  # to the best single model
    best: bool


@dataclass(frozen=True)
class Row:
    """One model on all splits, and its calibration on test."""

    model: str
    kind: str
    cells: tuple[Cell, ...]
    nll: float
    ece: float


@dataclass(frozen=True)
class Span:
    """An interval, its middle and zero, as places on a scale from 0 to 1 that all splits share."""

    low: float
    middle: float
    high: float
    zero: float


@dataclass(frozen=True)
class Comparison:
    """Soup against best single on one split."""

    split: str
    said: Outcome
    difference: float
    low: float
    high: float
    p_value: float
    soup_only: float
    single_only: float
    span: Span | None


def splits(results: pd.DataFrame) -> list[str]:
    """Held-out, test (and ReaL) and the shifts' mean first, then each shift as given."""
    order = list(dict.fromkeys(str(split) for split in results["split"]))
    first = [split for split in formatting.SPLITS if split in order]
    return first + [split for split in order if split not in first]


def accuracies(results: pd.DataFrame, kinds: list[str]) -> list[Row]:
    """Rows of the models of these kinds, in that order; the best of them is marked per split."""
    order = splits(results)
    values = {(str(row.model), str(row.split)): row for row in results.itertuples()}
    names = results[results["kind"].isin(kinds)].drop_duplicates("model")
    names = names.sort_values("kind", key=lambda kind: kind.map(kinds.index), kind="stable")
    models = [(str(row.model), str(row.kind)) for row in names.itertuples()]
    single = next(iter(results.loc[results["kind"] == "best single", "model"]), None)

    def number(model: str | None, split: str, column: str) -> float:
        return float(getattr(values.get((str(model), split)), column, math.nan))

    tops = {
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
            accuracy == tops[split],
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
    """The paired tests, in the order given, with what each of them says."""
    said = outcomes(tests)
    numbers = tests[["low", "difference", "high"]].astype(float)
    left = min(0.0, float(numbers.min().min())) if len(tests) else 0.0
    right = max(0.0, float(numbers.max().max())) if len(tests) else 0.0

    def scaled(row: Any) -> Span | None:
        places = (row.low, row.difference, row.high, 0.0)
        if right == left or any(math.isnan(place) for place in places):
            return None
        low, middle, high, zero = (float(place - left) / (right - left) for place in places)
        return Span(low, middle, high, zero)

    return [
        Comparison(
            str(row.split),
            said[str(row.split)],
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
    """The hyperparameters' columns: all that are not an ingredient's identity or outcome."""
    return [str(column) for column in ingredients.columns if column not in FIXED]


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
    """One dictionary a row."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def folded(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows that are shown, and those that a reader may unfold."""
    shown = len(rows) if len(rows) <= MOST else FEW
    return rows[:shown], rows[shown:]


def _nan_last(number: float) -> float:
    return -math.inf if math.isnan(number) else number
