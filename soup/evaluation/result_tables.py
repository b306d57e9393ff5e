"""From every model's answers to the tables of the result: scores with intervals, paired tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from soup.config.params import Evaluate
from soup.evaluation.metrics import (
    Correct,
    Logits,
    bootstrap,
    correct,
    expected_calibration_error,
    mcnemar,
    nll,
    permutation,
)
from soup.evaluation.targets import Targets

SHIFTS = "shifts"


@dataclass(frozen=True)
class Model:
    """One line of the result table.

    Attributes:
        name: as shown.
        kind: 'zero-shot', 'initialisation', 'ingredient', 'best single', 'uniform', 'greedy',
            'ensemble' or 'greedy ensemble'.
        logits: split -> float (examples, classes of train).
    """

    name: str
    kind: str
    logits: Mapping[str, Logits]


def table(
    models: Sequence[Model], keys: Mapping[str, Targets], shifts: Sequence[str], params: Evaluate
) -> pd.DataFrame:
    """One row a model and split, and one for the mean of the shifts.

    A split is judged by its key: likelihood and calibration are of its answers, not of all classes.

    Columns: model, kind, split, n, accuracy, low, high, nll, ece (fractions; NLL in nats).
    """
    rows: list[dict[str, Any]] = []
    for model in models:
        right: dict[str, Correct] = {}
        for split, key in keys.items():
            logits = key.project(model.logits)
            right[split] = correct(logits, key.labels)
            rows.append(
                {
                    **_row(model, split, [right[split]], params),
                    "nll": nll(logits, key.labels),
                    "ece": expected_calibration_error(logits, key.labels, params.ece_bins),
                }
            )
        if shifts:
            rows.append(_row(model, SHIFTS, [right[name] for name in shifts], params))
    return pd.DataFrame(rows)


def paired(
    soup: Model,
    single: Model,
    keys: Mapping[str, Targets],
    shifts: Sequence[str],
    params: Evaluate,
) -> pd.DataFrame:
    """The soup against the best single model on the same examples, split by split.

    A single split is tested by the exact McNemar test, the mean of the shifts by permutation; `low`
    and `high` bound the difference in accuracy (paired bootstrap).
    """
    right = {split: (_right(soup, key), _right(single, key)) for split, key in keys.items()}
    rows = [_pair(split, [a], [b], mcnemar(a, b), params) for split, (a, b) in right.items()]
    if shifts:
        a, b = [right[s][0] for s in shifts], [right[s][1] for s in shifts]
        rows.append(_pair(SHIFTS, a, b, permutation(a, b, seed=params.seed), params))
    return pd.DataFrame(rows)


def headline(results: pd.DataFrame, tests: pd.DataFrame, recipe: str) -> dict[str, Any]:
    """The figures that a person compares: for DVC's metrics and for the summary.

    Nested as split -> {best_single, soup, ensemble, gain, p_value}, fractions.
    """
    kinds = {"best_single": "best single", "soup": recipe, "ensemble": "ensemble"}
    by_kind = results.set_index(["kind", "split"])["accuracy"]
    figures: dict[str, Any] = {}
    for test in tests.to_dict("records"):
        split = test["split"]
        scores = {key: round(float(by_kind[kind, split]), 6) for key, kind in kinds.items()}
        gain = {"gain": round(test["difference"], 6), "p_value": float(f"{test['p_value']:.3g}")}
        figures[split] = scores | gain
    return figures


def _right(model: Model, key: Targets) -> Correct:
    return correct(key.project(model.logits), key.labels)


def _row(model: Model, split: str, hits: Sequence[Correct], params: Evaluate) -> dict[str, Any]:
    low, high = _interval([h.astype(float) for h in hits], params)
    return {
        "model": model.name,
        "kind": model.kind,
        "split": split,
        "n": sum(len(h) for h in hits),
        "accuracy": float(np.mean([h.mean() for h in hits])),
        "low": low,
        "high": high,
    }


def _pair(
    split: str, a: Sequence[Correct], b: Sequence[Correct], p_value: float, params: Evaluate
) -> dict[str, Any]:
    differences = [x.astype(float) - y.astype(float) for x, y in zip(a, b, strict=True)]
    low, high = _interval(differences, params)
    return {
        "split": split,
        "soup_only": sum(int((x & ~y).sum()) for x, y in zip(a, b, strict=True)),
        "single_only": sum(int((y & ~x).sum()) for x, y in zip(a, b, strict=True)),
        "p_value": p_value,
        "difference": float(np.mean([d.mean() for d in differences])),
        "low": low,
        "high": high,
    }


def _interval(groups: Sequence[NDArray[np.float64]], params: Evaluate) -> tuple[float, float]:
    return bootstrap(groups, params.bootstrap, params.confidence, params.seed)
