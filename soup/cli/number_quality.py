"""What models and soups that predict numbers are worth on labelled texts."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from soup.cli.cook_options import CookOptions
from soup.cli.heldout import Cooked, Scored
from soup.cli.terminal import models_in, table, warn
from soup.evaluation.metrics import Logits, NumberLabels
from soup.evaluation.number_scores import (
    MEASURE,
    NUMBER_SCORES,
    Numbers,
    compare,
    interval,
    value,
)
from soup.weights import Weights, materialize

RESAMPLES = 2000
NOISE = 0.05


def judged_numbers(
    options: CookOptions, scored: Scored, cooked: Cooked, weights: Weights
) -> tuple[Weights, dict[str, Any]]:
    """Compare the soup with the best single model, print the comparison, and return it.

    Args:
        weights: of the soup, in the type in which they are written.

    Returns:
        The weights to write, and the figures for the report as JSON knows them.
    """
    labels, score = scored.evaluator.examples.labels, NUMBER_SCORES[options.metric]
    best = min(scored.ingredients, key=lambda i: (math.isnan(i.errors), i.errors))
    weights = materialize(weights)
    ours, theirs = (
        Numbers(labels, scored.evaluator.logits(w)[:, 0]) for w in (weights, best.weights)
    )
    made = compare(score, [ours], [theirs], RESAMPLES, 0.95, seed=0)
    single, soup = value(score, [theirs]), value(score, [ours])
    alone = {i.name: i.errors for i in scored.ingredients}
    trace = cooked.soup.trace
    if trace and trace[0].errors is not None:
        rows = [
            (
                number,
                trial.name,
                f"{1 - alone.get(trial.name, math.nan):.4f}",
                "worse" if trial.errors is None else f"{1 - trial.errors:.4f}",
                "kept" if trial.kept else "",
            )
            for number, trial in enumerate(trace, start=1)
        ]
        table(f"trace, {options.metric}", [">", "model", ">alone", ">in the soup", ""], rows)
    low, high = made.interval
    table(
        f"held-out, {len(labels)} texts",
        ["", "", f">{options.metric}", ">gain", ">95% interval"],
        [
            ("best single", best.name, f"{single:.4f}", "", ""),
            (
                "soup",
                models_in(cooked.soup.kept),
                f"{soup:.4f}",
                f"{made.difference:+.4f}",
                f"{low:+.4f} to {high:+.4f}",
            ),
        ],
    )
    if not made.p_value < NOISE:
        warn(
            f"the gain is within the noise of {len(labels)} held-out texts "
            f"(p = {made.p_value:.2g}, permutation test): more texts would tell"
        )
    figures = {
        "examples": len(labels),
        "best": {"name": best.name, options.metric: single},
        "soup": {options.metric: soup, "cost": cooked.soup.errors},
        "gain": {"gain": made.difference, "interval": [low, high], "p": made.p_value},
        "trace": [asdict(trial) for trial in trace],
    }
    return weights, json.loads(json.dumps(figures, default=float))


def compared_numbers(
    outputs: Mapping[str, Logits], labels: NumberLabels, inputs: Sequence[str]
) -> list[dict[str, Any]]:
    """The figures of models that predict numbers, each against the first.

    Args:
        outputs: name of a model -> its outputs, (examples, 1).
        labels: (examples,).
        inputs: how each model takes a text, in words.
    """
    score = NUMBER_SCORES[MEASURE]
    first = Numbers(labels, next(iter(outputs.values()))[:, 0])
    rows: list[dict[str, Any]] = []
    for (name, of_model), used in zip(outputs.items(), inputs, strict=True):
        numbers = Numbers(labels, of_model[:, 0])
        made = compare(score, [numbers], [first], 1, 0.95, seed=0)
        rows.append(
            {
                "model": name,
                **{part: value(NUMBER_SCORES[part], [numbers]) for part in NUMBER_SCORES},
                "mse": float(numbers.squared_errors.mean()),
                "interval": [*interval(score, [numbers], RESAMPLES, 0.95, seed=0)],
                "difference": made.difference,
                "p": made.p_value,
                "input": used,
            }
        )
    return rows


def show_compared(title: str, compared: Sequence[dict[str, Any]]) -> None:
    """Print the figures of `compared_numbers`."""
    rows = [
        (
            model["model"],
            *(f"{model[name]:.4f}" for name in ("pearson", "spearman", MEASURE)),
            "{:.4f} to {:.4f}".format(*model["interval"]),
            f"{model['mse']:.4f}",
            f"{model['difference']:+.4f}" if index else "",
            f"{model['p']:.2g}" if index else "",
        )
        for index, model in enumerate(compared)
    ]
    columns = ["model", ">Pearson", ">Spearman", ">mean", ">95% interval", ">squared error"]
    table(title, [*columns, ">against the first", ">p (permutation)"], rows)
