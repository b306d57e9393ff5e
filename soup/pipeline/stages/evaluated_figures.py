"""The figures of evaluated models: by MLflow's names, and the few for DVC and for a line."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from soup.evaluation.number_scores import NUMBER_SCORES
from soup.evaluation.score_text import ACCURACY, score_text
from soup.pipeline.data_sets import metrics_of

CURVES = (ACCURACY, "matthews", "f1", "f1-accuracy", *NUMBER_SCORES)
NAMED_SCORES = (*CURVES[1:], "mse")


def main_figures(figures: Mapping[str, Any], score: str) -> dict[str, dict[str, float]]:
    """What `dvc metrics show` shows: few figures, to be compared at a glance.

    Args:
        figures: those of `result_tables.headline` by split, with those of the score below its name.
        score: that the soup was selected by.

    Returns:
        Split -> the soup's score, and its gain over the best single model; of accuracy, where the
        score is not defined.
    """
    known = {split: figures[split] for split in ("heldout", "test", "shifts") if split in figures}
    chosen = {split: of_split.get(score, of_split) for split, of_split in known.items()}
    return {split: {"soup": of["soup"], "gain": of["gain"]} for split, of in chosen.items()}


def gains_of(
    metrics: Mapping[str, Mapping[str, float]], figures: Mapping[str, Any], score: str
) -> str:
    """What `main_figures` says of test and shifts, for people."""
    told = []
    for split in [split for split in ("test", "shifts") if split in metrics]:
        name = score if score in figures[split] or score in NUMBER_SCORES else ACCURACY
        gain = 100 * metrics[split]["gain"]
        told.append(f"{split} {score_text(name, metrics[split]['soup'])} ({gain:+.2f})")
    return ", ".join(told)


def named(rows: pd.DataFrame) -> dict[str, float]:
    """A model's figures by MLflow's names: test/accuracy, shift/<name>/nll, shifts/accuracy."""
    metrics = {}
    for row in rows.to_dict("records"):
        prefix = metrics_of(row["split"])
        for figure in ("accuracy", "nll", "ece", *NAMED_SCORES):
            if not math.isnan(row.get(figure, math.nan)):
                metrics[f"{prefix}/{figure}"] = row[figure]
    return metrics
