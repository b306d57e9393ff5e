"""Turn data frames into the rows of the page's tables."""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from soup.report import formatting
from soup.report.headline import outcomes
from soup.report.methods import is_soup

UNFOLDED_ROWS = 100  # a table with more rows than this shows the first FIRST_ROWS and folds others
FIRST_ROWS = 40
FIRST, LAST = ("zero-shot", "probe", "best single"), ("ensemble", "greedy ensemble")
NOT_SETTINGS = ("name", "run_id", "url", "status", "reason", "kept", "heldout_accuracy")


@dataclass(frozen=True)
class Row:
    """One model on all splits.

    Attributes:
        model, kind: its name and its kind.
        cells: a row of the results for each split, with the differences from the best single
            model and, as `short`, from the best of the column; NaN if unknown.
        nll, ece: negative log-likelihood and calibration error on test; NaN of predicted numbers.
        mse: mean squared error of predicted numbers on test; NaN of classes.
    """

    model: str
    kind: str
    cells: tuple[Any, ...]
    nll: float
    ece: float
    mse: float


@dataclass(frozen=True)
class Span:
    """An interval, its middle and zero, on a scale from 0 to 1 that is common to all splits."""

    low: float
    middle: float
    high: float
    zero: float


def splits(results: pd.DataFrame) -> list[str]:
    """Return the splits: held-out, test (by ReaL labels too), mean of shifts, then each shift."""
    order = list(dict.fromkeys(str(split) for split in results["split"]))
    first = [split for split in formatting.SPLITS if split in order]
    return first + [split for split in order if split not in first]


def compared(results: pd.DataFrame) -> list[str]:
    """Return the kinds of models to compare: single models, soups in the given order, ensembles."""
    kinds = [*dict.fromkeys(results["kind"])]
    soups = [kind for kind in kinds if is_soup(kind)]
    return [*(kind for kind in FIRST if kind in kinds), *soups, *(k for k in LAST if k in kinds)]


def accuracies(results: pd.DataFrame, kinds: list[str]) -> list[Row]:
    """Return a row for each model of these kinds, in the order of `kinds`."""
    single = results[results["kind"] == "best single"].drop_duplicates("split").set_index("split")
    shown = results[results["kind"].isin(kinds)]
    shown = shown.sort_values("kind", key=lambda kind: kind.map(kinds.index), kind="stable")
    accuracy = shown["accuracy"].astype(float)
    shown = shown.assign(
        difference=accuracy - shown["split"].map(single["accuracy"]).astype(float),
        short=accuracy.groupby(shown["split"]).transform("max") - accuracy,
    )
    # All at once: pandas takes milliseconds for anything that is done to one model alone.
    models: dict[str, dict[str, Any]] = {}
    for cell in shown.drop_duplicates(["model", "split"]).set_index("split").itertuples():
        models.setdefault(str(cell.model), {})[str(cell.Index)] = cell
    rows, columns = [], splits(results)
    for model, cells in models.items():
        first = next(iter(cells.values()))
        of_all = [cells.get(split) or _unknown(first, split) for split in columns]
        test = cells.get("test")
        figures = (float(getattr(test, name, math.nan)) for name in ("nll", "ece", "mse"))
        rows.append(Row(model, str(first.kind), (*of_all,), *figures))
    return rows


def _unknown(like: Any, split: str) -> Any:
    """The cell of a model that was not scored on a split."""
    return like._replace(**dict.fromkeys(like._fields, math.nan) | {"Index": split})


def comparisons(tests: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the paired tests, in the given order, with `outcome` and `span` (or None)."""
    by_split = outcomes(tests)
    numbers = tests[["low", "difference", "high"]].astype(float)
    left = min(0.0, float(numbers.min().min())) if len(tests) else 0.0
    right = max(0.0, float(numbers.max().max())) if len(tests) else 0.0

    def span(row: dict[str, Any]) -> Span | None:
        values = (row["low"], row["difference"], row["high"], 0.0)
        if right == left or any(math.isnan(value) for value in values):
            return None
        return Span(*(float(value - left) / (right - left) for value in values))

    rows: list[Any] = tests.to_dict("records")
    return [row | {"outcome": by_split[row["split"]], "span": span(row)} for row in rows]


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


def folded(rows: list[Any]) -> tuple[list[Any], list[Any]]:
    """Split rows into those that are shown and those that a reader may unfold."""
    shown = len(rows) if len(rows) <= UNFOLDED_ROWS else FIRST_ROWS
    return rows[:shown], rows[shown:]
