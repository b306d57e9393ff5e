"""What a soup is worth on held-out images, and how much of that is chance."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from soup.cli.cook_options import CookOptions
from soup.cli.heldout_folder import batches_of
from soup.cli.terminal import percent, progress, say, table, warn
from soup.evaluation.diagnosis.selection_bias import Gain, best_of, gains, paired, split_bias
from soup.evaluation.evaluator import Evaluator
from soup.evaluation.judges import TOP1_ERROR
from soup.evaluation.metrics import Correct
from soup.evaluation.scores import COUNTS
from soup.models.batchnorm import has_batchnorm, recalibrate
from soup.recipes.ingredient import Ingredient, Soup
from soup.weights import Weights, materialize
from soup.weights.running_mean import RunningMean


@dataclass(frozen=True)
class Scored:
    """Ingredients with what each answered on the held-out images."""

    exam: Evaluator
    ingredients: list[Ingredient]
    correct: dict[str, Correct]


@dataclass(frozen=True)
class Made:
    """A soup, and for each kept one of a greedy soup what the soup then answered."""

    soup: Soup
    answers: list[Correct]


def judged(
    order: CookOptions, scored: Scored, made: Made, weights: Weights
) -> tuple[Weights, dict[str, Any]]:
    """What the soup is worth: against the best single model, with the noise of the held-out set."""
    exam, n = scored.exam, len(scored.exam)
    wrong = COUNTS.get(order.metric, TOP1_ERROR)
    best = min(scored.ingredients, key=lambda i: (math.isnan(i.errors), i.errors))

    def answers(one: Weights) -> Correct:
        logits = torch.from_numpy(exam.logits(one))
        return (~wrong(logits, torch.from_numpy(exam.examples.labels))).numpy()

    weights = materialize(weights)
    right = answers(weights)
    statistics: dict[str, float] = {}
    if order.recalibrate is not None:
        weights, right, statistics = _statistics(order, exam, weights, right, answers)
    steps = _steps(made, scored, answers) if order.recipe == "greedy" else []
    gain = paired(scored.correct[best.name], right)
    _show_trace(order, scored, made.soup, steps)
    rows = [
        ("best single", best.name, percent(scored.correct[best.name].mean()), ""),
        ("soup", of_models(made.soup), percent(right.mean()), _plus_minus(gain)),
    ]
    table(f"held-out, {n} images", ["", "", ">accuracy, %", ">gain"], rows)
    if set(made.soup.kept) == {best.name}:
        warn(f"{best.name} is kept alone: 'soup explain', given the same, says why")
    elif gain.within_noise:
        warn(
            f"the gain is within the noise of {n} held-out images "
            f"(p = {gain.p:.2g}, exact McNemar): more images would tell"
        )
    figures: dict[str, Any] = {
        "examples": n,
        "best": {"name": best.name, "accuracy": float(scored.correct[best.name].mean())},
        "soup": {"accuracy": float(right.mean()), "cost": made.soup.errors},
        "gain": gain._asdict(),
        "trace": [asdict(trial) for trial in made.soup.trace],
        "acceptances": [step._asdict() for step in steps],
    }
    figures["bias"] = _bias(order, scored, made.soup)
    if statistics:
        figures["batchnorm"] = statistics
    return weights, json.loads(json.dumps(figures, default=float))


def _statistics(
    order: CookOptions,
    exam: Evaluator,
    weights: dict[str, torch.Tensor],
    right: Correct,
    answers: Callable[[Weights], Correct],
) -> tuple[dict[str, torch.Tensor], Correct, dict[str, float]]:
    """BatchNorm's statistics as averaged and as computed anew: both reported, the better taken."""
    assert order.recalibrate is not None
    if not has_batchnorm(exam.models[0]):
        warn("the model keeps no BatchNorm statistics: nothing to recompute")
        return weights, right, {}
    exam.load(exam.models[0], weights)
    anew = dict(recalibrate(exam.models[0], batches_of(order.recalibrate, exam)))
    also = answers(anew)
    both = {"averaged": float(right.mean()), "recomputed": float(also.mean())}
    rows = [(how, percent(accuracy)) for how, accuracy in both.items()]
    table("BatchNorm statistics", ["", ">accuracy, %"], rows)
    return (anew, also, both) if also.sum() >= right.sum() else (weights, right, both)


def _steps(made: Made, scored: Scored, answers: Callable[[Weights], Correct]) -> list[Gain]:
    """The paired gain of each acceptance of a greedy soup, in their order."""
    kept = made.soup.kept
    if len(made.soup.trace) < 2 or made.soup.trace[0].errors is None or len(kept) < 2:
        return []
    after = made.answers
    if len(after) != len(kept) - 1:  # judged on several devices, whose answers have no order
        mean, after = RunningMean(), []
        weights = {one.name: one.weights for one in scored.ingredients}
        mean.add(weights[kept[0]])
        for name in kept[1:]:
            mean.add(weights[name])
            after.append(answers(mean.value()))
    chain = [scored.correct[kept[0]], *after]
    return gains(chain)


def _show_trace(order: CookOptions, scored: Scored, soup: Soup, steps: Sequence[Gain]) -> None:
    if not soup.trace or soup.trace[0].errors is None:
        return
    n, counts = len(scored.exam), order.metric in COUNTS
    alone = {one.name: one.errors for one in scored.ingredients}
    gained = iter(steps)

    def shown(cost: float | None) -> str:
        if cost is None:
            return "worse"
        return percent(1 - cost / n) if counts else f"{cost:.4f}"

    rows: list[tuple[object, ...]] = []
    tried: set[str] = set()
    for place, trial in enumerate(soup.trace, start=1):
        gain = next(gained, None) if trial.kept and place > 1 else None
        rows.append(
            (
                place,
                f"without {trial.name}" if trial.name in tried else trial.name,
                shown(alone.get(trial.name, math.nan)),
                shown(trial.errors),
                "" if gain is None else _plus_minus(gain),
                "kept" if trial.kept else "",
            )
        )
        if order.recipe == "removal":
            tried.add(trial.name)
    unit = f"{order.metric}, %" if counts else order.metric
    table(f"trace, {unit}", [">", "model", ">alone", ">in the soup", ">gain", ""], rows)
    noisy = sum(step.within_noise for step in steps)
    if noisy:
        warn(f"{noisy} of {len(steps)} acceptances gain less than two standard errors")


def of_models(soup: Soup) -> str:
    """How many models are in it."""
    count = len(set(soup.kept))
    return "1 model" if count == 1 else f"{count} models"


def _plus_minus(gain: Gain) -> str:
    return f"{100 * gain.gain:+.2f} ± {100 * gain.se:.2f}"


def _bias(order: CookOptions, scored: Scored, soup: Soup) -> dict[str, float]:
    """How much choosing by the held-out set flatters, there."""
    chosen = best_of(np.stack([*scored.correct.values()]))
    found = {"best_single": chosen.bias}
    say(
        f"choosing the best of {len(scored.correct)} flatters it by about "
        f"{100 * chosen.bias:.2f} points (bootstrap)"
    )
    if order.splits and order.recipe == "greedy" and order.metric in COUNTS:

        def judge_on(part: Any) -> Any:
            hard = [*scored.correct.values()]
            return scored.exam.judges(hard, COUNTS[order.metric], among=part)[0]

        with progress("splitting", None) as advance:

            def watched(part: Any) -> Any:
                advance()
                return judge_on(part)

            honest = split_bias(
                soup, scored.ingredients, scored.correct, watched, splits=order.splits
            )
        found |= {"gain": honest.gain.bias, "soup": honest.accuracy.bias}
        bias = 100 * honest.gain.bias
        how = "flattered" if bias >= 0 else "understated"
        say(
            f"greedy's gain of {100 * honest.gain.apparent:+.2f} points is {how} by about "
            f"{abs(bias):.2f} ({order.splits} splits of the held-out set): honestly "
            f"{100 * honest.gain.honest:+.2f}"
        )
    return found
