"""What a soup is worth on held-out images, and how much of that is chance."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from soup.cli.cook_options import CookOptions, arguments_of
from soup.cli.heldout import Cooked, Scored
from soup.cli.number_quality import judged_numbers
from soup.cli.terminal import models_in, percent, progress, say, table, warn
from soup.evaluation.diagnosis.selection_bias import Gain, best_of, gains, paired, split_bias
from soup.evaluation.metrics import Correct
from soup.evaluation.scores import COUNTS
from soup.recipes.greedy import greedy
from soup.recipes.ingredient import Soup
from soup.weights import Weights, materialize
from soup.weights.running_mean import RunningMean


def judged(
    options: CookOptions, scored: Scored, cooked: Cooked, weights: Weights
) -> tuple[Weights, dict[str, Any]]:
    """Compare the soup with the best single model, print the comparison, and return it.

    Args:
        weights: of the soup, in the type in which they are written.

    Returns:
        The weights to write, and the figures for the report as JSON knows them. The weights have
        the BatchNorm statistics that they were judged with; a recipe that chooses nothing by
        held-out images has the averaged ones if those do better.
    """
    if scored.evaluator.predicts_numbers:
        return judged_numbers(options, scored, cooked, weights)
    n = len(scored.evaluator)
    best = min(scored.ingredients, key=lambda i: (math.isnan(i.errors), i.errors))

    weights = materialize(weights)
    right = scored.right(weights)
    statistics: dict[str, float] = {}
    averaged: dict[str, torch.Tensor] | None = None
    if cooked.averaged is not None:
        averaged = {n: cooked.averaged[n].to(tensor.dtype) for n, tensor in weights.items()}
        weights, right, statistics = _statistics(cooked.soup, scored, weights, right, averaged)
    steps = _steps(cooked, scored) if options.recipe == "greedy" else []
    gain = paired(scored.correct[best.name], right)
    _show_trace(options, scored, cooked.soup, steps)
    rows = [
        ("best single", best.name, percent(scored.correct[best.name].mean()), ""),
        ("soup", models_in(cooked.soup.kept), percent(right.mean()), _plus_minus(gain)),
    ]
    unit = scored.evaluator.architecture.unit
    table(f"held-out, {n} {unit}", ["", "", ">accuracy, %", ">gain"], rows)
    if set(cooked.soup.kept) == {best.name}:
        warn(f"{best.name} is kept alone: 'soup explain', given the same, says why")
    elif gain.gain < 0 and not gain.within_noise:
        warn(f"the soup is worse than {best.name} alone: 'soup explain', given the same, says why")
    elif gain.within_noise:
        warn(
            f"the gain is within the noise of {n} held-out {unit} "
            f"(p = {gain.p:.2g}, exact McNemar): more {unit} would tell"
        )
    figures: dict[str, Any] = {
        "examples": n,
        "best": {"name": best.name, "accuracy": float(scored.correct[best.name].mean())},
        "soup": {"accuracy": float(right.mean()), "cost": cooked.soup.errors},
        "gain": gain._asdict(),
        "trace": [asdict(trial) for trial in cooked.soup.trace],
        "acceptances": [step._asdict() for step in steps],
    }
    figures["bias"] = _bias(options, scored, cooked.soup)
    recalibration = scored.evaluator.recalibration
    if statistics and recalibration is not None:
        figures["batchnorm"] = statistics
        figures["recalibration"] = {
            "written": "averaged" if weights is averaged else "recomputed",
            "images": len(recalibration.inputs),
            "models": recalibration.models,
            "seconds": recalibration.seconds,
        }
    return weights, json.loads(json.dumps(figures, default=float))


def _statistics(
    soup: Soup,
    scored: Scored,
    recomputed: dict[str, torch.Tensor],
    right: Correct,
    averaged: dict[str, torch.Tensor],
) -> tuple[dict[str, torch.Tensor], Correct, dict[str, float]]:
    """Compare the soup's recomputed BatchNorm statistics with the averaged ones.

    Args:
        right: which held-out images the recomputed soup gets right.

    Returns:
        The soup to write, which images it gets right, and the accuracies of both.
    """
    right_averaged = scored.right(averaged)
    both = {"averaged": float(right_averaged.mean()), "recomputed": float(right.mean())}
    rows = [(how, percent(accuracy)) for how, accuracy in both.items()]
    table("BatchNorm statistics", ["", ">accuracy, %"], rows)
    chosen = any(trial.errors is not None for trial in soup.trace)
    if not chosen and right_averaged.sum() > right.sum():
        return averaged, right_averaged, both
    return recomputed, right, both


def _steps(cooked: Cooked, scored: Scored) -> list[Gain]:
    """The paired gain of each acceptance of a greedy soup, in their order."""
    kept = cooked.soup.kept
    if len(cooked.soup.trace) < 2 or cooked.soup.trace[0].errors is None or len(kept) < 2:
        return []
    after = cooked.answers[1 - len(kept) :]
    if len(after) != len(kept) - 1:  # judged on several devices, whose answers have no order
        mean, after, evaluator = RunningMean(), [], scored.evaluator
        weights = {i.name: i.weights for i in scored.ingredients}
        mean.add(weights[kept[0]])
        for name in kept[1:]:
            mean.add(weights[name])
            after.append(scored.right(evaluator.recalibrated(mean.value())))
    chain = [scored.correct[kept[0]], *after]
    return gains(chain)


def _show_trace(options: CookOptions, scored: Scored, soup: Soup, steps: Sequence[Gain]) -> None:
    if not soup.trace or soup.trace[0].errors is None:
        return
    n, counts = len(scored.evaluator), options.metric in COUNTS
    alone = {i.name: i.errors for i in scored.ingredients}
    remaining = iter(steps)

    def shown(cost: float | None) -> str:
        if cost is None:
            return "worse"
        return percent(1 - cost / n) if counts else f"{cost:.4f}"

    rows: list[tuple[object, ...]] = []
    for number, trial in enumerate(soup.trace, start=1):
        again = options.recipe == "removal" and any(trial.name == row[1] for row in rows)
        name = f"without {trial.name}" if again else trial.name
        costs = (shown(alone.get(trial.name, math.nan)), shown(trial.errors))
        gain = next(remaining, None) if trial.kept and number > 1 else None
        better = "" if gain is None else _plus_minus(gain)
        rows.append((number, name, *costs, better, "kept" if trial.kept else ""))
    unit = f"{options.metric}, %" if counts else options.metric
    table(f"trace, {unit}", [">", "model", ">alone", ">in the soup", ">gain", ""], rows)
    noisy = sum(step.within_noise for step in steps)
    if noisy:
        warn(f"{noisy} of {len(steps)} acceptances gain less than two standard errors")


def _plus_minus(gain: Gain) -> str:
    return f"{100 * gain.gain:+.2f} ± {100 * gain.se:.2f}"


def _bias(options: CookOptions, scored: Scored, soup: Soup) -> dict[str, float]:
    """How much a choice by the held-out images overstates the accuracy on them."""
    chosen = best_of(np.stack([*scored.correct.values()]))
    bias_of = {"best_single": chosen.bias}
    say(
        f"choosing the best of {len(scored.correct)} flatters it by about "
        f"{100 * chosen.bias:.2f} points (bootstrap)"
    )
    if options.splits:
        evaluator = scored.evaluator
        # On both halves all but the best are tried, and the soup is judged on the other half.
        total = options.splits * len(evaluator) * len(scored.ingredients)
        with progress("splitting", total, evaluator.architecture.unit) as advance:
            watched = replace(evaluator, advance=advance)

            def judge_on(part: Any) -> Any:
                known = [*scored.correct.values()]
                return watched.judges(known, COUNTS[options.metric], among=part)[0]

            honest = split_bias(
                soup,
                scored.ingredients,
                scored.correct,
                judge_on,
                splits=options.splits,
                recipe=partial(greedy, **arguments_of(greedy, options)),
            )
        bias_of |= {"gain": honest.gain.bias, "soup": honest.accuracy.bias}
        bias = 100 * honest.gain.bias
        how = "flattered" if bias >= 0 else "understated"
        say(
            f"greedy's gain of {100 * honest.gain.apparent:+.2f} points is {how} by about "
            f"{abs(bias):.2f} ({options.splits} splits of the held-out set): honestly "
            f"{100 * honest.gain.honest:+.2f}"
        )
    return bias_of
