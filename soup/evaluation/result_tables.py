"""The tables of the result: the scores of all models with intervals, and paired tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from soup.evaluation.metrics import (
    Correct,
    Interval,
    Score,
    accuracy_interval,
    bootstrap,
    mcnemar,
    permutation,
)
from soup.evaluation.number_scores import NUMBER_SCORES, Numbers

SHIFTS = "shifts"


class Resampling(NamedTuple):
    """How the confidence intervals are drawn.

    Attributes:
        resamples: number of bootstrap resamples.
        confidence: level of the interval, a fraction.
        seed: of the bootstrap and of the permutation test.
    """

    resamples: int
    confidence: float
    seed: int


@dataclass(frozen=True)
class Model:
    """A model in the result table.

    Attributes:
        name: as the table shows it.
        kind: 'zero-shot', 'probe', 'ingredient', 'best single', 'uniform', 'greedy',
            'ensemble', 'greedy ensemble' or 'registered'.
        scores: by split, in the order of the table.
    """

    name: str
    kind: str
    scores: Mapping[str, Score | Numbers]


def table(models: Sequence[Model], shifts: Sequence[str], resampling: Resampling) -> pd.DataFrame:
    """The result table: a row for each model and split, and for each model's mean over the shifts.

    Columns: model, kind, split, n (examples), accuracy, low and high (bounds of its confidence
    interval), nll (nats), ece. Accuracies and the calibration error are fractions.

    Args:
        shifts: names of the splits that the mean is taken over; without any there is no mean.
    """
    rows: list[dict[str, Any]] = []
    for model in models:
        scores = _of_classes(model)
        for split, score in scores.items():
            row = _row(model, split, [score.right], resampling)
            rows.append({**row, "nll": score.nll, "ece": score.ece})
        if shifts:
            right = [scores[name].right for name in shifts]
            rows.append(_row(model, SHIFTS, right, resampling))
    return pd.DataFrame(rows)


def paired(
    soup: Model, single: Model, shifts: Sequence[str], resampling: Resampling
) -> pd.DataFrame:
    """Paired tests of the soup against the best single model, split by split.

    A split is tested by the exact McNemar test, the mean over the shifts by a permutation test.

    Columns: split, soup_only and single_only (examples that only this model classifies correctly),
    p_value, difference (in accuracy), low and high (its bounds by the paired bootstrap); fractions.
    """
    ours, theirs = _of_classes(soup), _of_classes(single)
    right = {split: (score.right, theirs[split].right) for split, score in ours.items()}
    rows = [_pair(split, [a], [b], mcnemar(a, b), resampling) for split, (a, b) in right.items()]
    if shifts:
        a, b = [right[s][0] for s in shifts], [right[s][1] for s in shifts]
        rows.append(_pair(SHIFTS, a, b, permutation(a, b, seed=resampling.seed), resampling))
    return pd.DataFrame(rows)


def measure_of(results: pd.DataFrame) -> str:
    """The column by which models are compared: 'accuracy', or that of predicted numbers."""
    return next(name for name in ("accuracy", *NUMBER_SCORES) if name in results)


def headline(results: pd.DataFrame, tests: pd.DataFrame, recipe: str) -> dict[str, Any]:
    """The main figures of a result, for DVC's metrics and the summary.

    Args:
        results: the table of `table`.
        tests: the table of `paired`.
        recipe: kind of the soup, 'uniform' or 'greedy'.

    Returns:
        split -> {best_single, median_ingredient, soup, ensemble, gain, gain_low, gain_high,
        p_value}; accuracies (or correlations) and the gain over the best single model, with its
        interval, are fractions.
    """
    kinds = {"best_single": "best single", "soup": recipe, "ensemble": "ensemble"}
    by_kind = results.set_index(["kind", "split"])[measure_of(results)]
    figures: dict[str, Any] = {}
    for test in tests.to_dict("records"):
        split = test["split"]
        scores = {key: round(float(by_kind[kind, split]), 6) for key, kind in kinds.items()}
        if ("ingredient", split) in by_kind.index:
            median = float(np.median(by_kind.xs(("ingredient", split))))
            scores["median_ingredient"] = round(median, 6)
        gain = {"gain": round(test["difference"], 6), "p_value": float(f"{test['p_value']:.3g}")}
        bounds = {f"gain_{end}": round(test[end], 6) for end in ("low", "high")}
        figures[split] = scores | gain | bounds
    return figures


def _of_classes(model: Model) -> dict[str, Score]:
    return {split: score for split, score in model.scores.items() if isinstance(score, Score)}


def _row(
    model: Model, split: str, hits: Sequence[Correct], resampling: Resampling
) -> dict[str, Any]:
    facts = {"model": model.name, "kind": model.kind, "split": split, "n": sum(map(len, hits))}
    interval = accuracy_interval(hits, *resampling)
    return facts | _mean("accuracy", [h.astype(float) for h in hits], interval)


def _pair(
    split: str, a: Sequence[Correct], b: Sequence[Correct], p_value: float, resampling: Resampling
) -> dict[str, Any]:
    differences = [x.astype(float) - y.astype(float) for x, y in zip(a, b, strict=True)]
    return {
        "split": split,
        "soup_only": sum(int((d > 0).sum()) for d in differences),
        "single_only": sum(int((d < 0).sum()) for d in differences),
        "p_value": p_value,
    } | _mean("difference", differences, bootstrap(differences, *resampling))


def _mean(name: str, scores: Sequence[NDArray[np.float64]], interval: Interval) -> Any:
    """The mean over splits of the mean over examples, and its confidence interval."""
    return {name: float(np.mean([s.mean() for s in scores])), **interval._asdict()}
