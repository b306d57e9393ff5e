"""Candidates scored on held-out images, and a soup chosen by the scores."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from soup.cli.checkpoints import Pool
from soup.cli.cook_options import CLASS_METRICS, CookOptions, parameters_of, ranks_by_logits
from soup.cli.heldout_folder import logits_of, open_evaluator, recalibration_on
from soup.cli.model_options import tell_input
from soup.cli.terminal import progress, say, tell_left_out, warn
from soup.errors import BadInput
from soup.evaluation.averaged_logits import AveragedLogits
from soup.evaluation.counted_objective import CountedObjective
from soup.evaluation.diagnosis.low_scores import Answers, low_scores, recorded
from soup.evaluation.evaluator import Evaluator
from soup.evaluation.judges import TOP1_ERROR, ErrorJudge, ScoreJudge
from soup.evaluation.metrics import (
    Correct,
    Logits,
    Margins,
    margins,
    predicted,
    well_predicted,
)
from soup.evaluation.number_scores import NUMBER_SCORES
from soup.evaluation.prediction_file import to_float16_keeping_argmax
from soup.evaluation.scores import CLASSES_COMPARED, COUNTS, SCORES
from soup.models.batchnorm import has_batchnorm, layers_that_differ
from soup.recipes.ingredient import Ingredient, Soup
from soup.recipes.parallel_greedy import parallel_greedy
from soup.weights import Weights


@dataclass(frozen=True)
class Scored:
    """Ingredients with their scores, and which held-out images each gets right.

    Attributes:
        logits: of each ingredient; empty where the recipe does not ask for them.
        margins: of each ingredient; empty where numbers are predicted.
    """

    evaluator: Evaluator
    ingredients: list[Ingredient]
    correct: dict[str, Correct]
    metric: str
    logits: dict[str, Logits]
    margins: dict[str, Margins] = field(default_factory=dict)

    def cost(self, logits: torch.Tensor, labels: torch.Tensor) -> float:
        """The cost of logits by the metric: errors, or 1 minus a score."""
        wrong = COUNTS.get(self.metric)
        return (
            SCORES[self.metric](logits, labels)
            if wrong is None
            else int(wrong(logits, labels).sum())
        )

    def right(self, weights: Weights) -> Correct:
        """Which held-out images a model gets right, in the sense of the metric if it counts."""
        return self.right_of(self.evaluator.logits(weights))

    def right_of(self, logits: Logits) -> Correct:
        """The same, from the model's logits; of numbers, see `well_predicted`."""
        if self.evaluator.predicts_numbers:
            return well_predicted(logits, self.evaluator.examples.labels)
        labels = torch.from_numpy(self.evaluator.examples.labels)
        wrong = COUNTS.get(self.metric, TOP1_ERROR)
        return (~wrong(torch.from_numpy(logits), labels)).numpy()


@dataclass(frozen=True)
class Cooked:
    """A soup, and which images each candidate gets right that a judge saw all images of.

    Attributes:
        answers: in the order of judging, the last of a greedy soup being those after each model
            that it keeps but the first; empty where several devices judged.
        averaged: the soup's weights before its BatchNorm statistics were recomputed; None if they
            were not.
    """

    soup: Soup
    answers: list[Correct]
    averaged: Weights | None = None


def score(
    options: CookOptions, pool: Pool, ingredients: Sequence[Ingredient], devices: Sequence[str]
) -> Scored:
    """Score each ingredient by the metric, as a cost: errors, or 1 minus a score."""
    assert options.heldout is not None
    first = next(iter(pool.checkpoints.values()))
    evaluator = open_evaluator(
        options.heldout,
        options.model,
        first,
        devices,
        options.batch_size,
        options.as_json,
        partial(tell_input, pool.checkpoints),
    )
    tell_left_out(evaluator.skipped)
    numbers = evaluator.predicts_numbers
    if numbers != (options.metric in NUMBER_SCORES):
        what, fit = ("numbers", NUMBER_SCORES) if numbers else ("classes", CLASS_METRICS)
        raise BadInput(
            f"--metric {options.metric} does not score {what}, which these models predict: give "
            f"--metric {' or '.join(fit)}"
        )
    if options.metric in CLASSES_COMPARED and len({*evaluator.examples.labels.tolist()}) < 2:
        raise BadInput(
            f"{options.heldout} has images of one class only, on which --metric {options.metric} "
            "is not defined: add images of other classes, or choose --metric accuracy"
        )
    evaluator = _recalibrating(options, evaluator, [*pool.checkpoints.values()])
    scored = Scored(evaluator, [], {}, options.metric, {})
    labels = torch.from_numpy(evaluator.examples.labels)
    answers = {}
    total, unit = len(ingredients) * len(evaluator), evaluator.architecture.unit
    with progress("scoring", total, unit) as advance:
        watched = replace(evaluator, advance=advance)
        for ingredient in ingredients:
            # Single models are scored with the statistics of their own training.
            checkpoint = pool.checkpoints[ingredient.name]
            logits = logits_of(watched, checkpoint, pool.digests[ingredient.name])
            if not numbers:
                record = recorded(checkpoint.metadata)
                answers[ingredient.name] = Answers(predicted(logits), record)
                scored.margins[ingredient.name] = margins(logits, evaluator.examples.labels)
            right = scored.right_of(logits)
            cost = scored.cost(torch.from_numpy(logits), labels)
            scored.correct[ingredient.name] = right
            if ranks_by_logits(options):
                scored.logits[ingredient.name] = to_float16_keeping_argmax(logits)
            scored.ingredients.append(replace(ingredient, errors=cost))
    classes = evaluator.architecture.classes
    for line in [] if numbers else low_scores(answers, evaluator.examples.labels, classes):
        warn(line)
    return scored


def _recalibrating(
    options: CookOptions, evaluator: Evaluator, candidates: Sequence[Weights]
) -> Evaluator:
    """The evaluator, whose judges recompute BatchNorm statistics if training images are given."""
    if options.recalibrate is None:
        if layers_that_differ(evaluator.models[0], candidates):
            warn(
                "the models have BatchNorm, whose statistics are averaged, which may make good "
                "averages look bad: give training images by --recalibrate FOLDER"
            )
        return evaluator
    recalibration = recalibration_on(
        options.recalibrate, options.calibration_images, evaluator, candidates
    )
    if recalibration is None:
        has = has_batchnorm(evaluator.models[0])
        warn(
            "the BatchNorm statistics are the same in all models: they are kept"
            if has
            else "the model keeps no BatchNorm statistics: nothing to recompute"
        )
    return replace(evaluator, recalibration=recalibration)


def cook_by(
    options: CookOptions, recipe: Callable[..., Soup], arguments: dict[str, Any], scored: Scored
) -> Cooked:
    """Cook a soup by the recipe, which asks held-out images for what its parameters name."""
    counts, unit = options.metric in COUNTS, scored.evaluator.architecture.unit
    parameters = parameters_of(recipe)
    n, several = len(scored.evaluator), len(scored.evaluator.models) > 1
    once = options.recipe == "greedy" and not several  # each candidate is judged once
    total = (len(scored.ingredients) - 1) * n if once else None
    started = time.perf_counter()
    with progress(f"{options.recipe} soup", total, unit) as advance:
        evaluator = replace(scored.evaluator, advance=advance)
        judges: Sequence[Any] = (
            evaluator.judges(
                [*scored.correct.values()], COUNTS[options.metric], margins=scored.margins
            )
            if counts
            else evaluator.score_judges(
                SCORES[options.metric],
                [*scored.correct.values()] if evaluator.predicts_numbers else (),
                scored.margins,
            )
        )
        if "objective" in parameters:
            arguments["objective"] = CountedObjective(evaluator.objective(), n, advance)
        if "fishers" in parameters:
            arguments["fishers"] = [evaluator.fisher(i.weights) for i in scored.ingredients]
        if ranks_by_logits(options):
            labels = evaluator.examples.labels
            arguments["predictions"] = AveragedLogits(scored.logits, labels, scored.cost)
        watched = [Watched(judge) for judge in judges]
        if options.recipe == "greedy" and len(judges) > 1 and not ranks_by_logits(options):
            arguments.pop("order", None)
            soup = parallel_greedy(scored.ingredients, watched, **arguments)
        else:
            if "judge" in parameters:
                arguments["judge"] = watched[0]
            soup = recipe(scored.ingredients, **arguments)
    if evaluator.recalibration is not None:
        say(f"{evaluator.recalibration} of {time.perf_counter() - started:.1f} s")
    averaged = None if evaluator.recalibration is None else watched[0].averaged
    in_order = counts and len(judges) == 1
    return Cooked(
        soup, [a for a in judges[0].answers if a is not None] if in_order else [], averaged
    )


@dataclass
class Watched:
    """A judge that keeps which weights it recalibrated.

    Attributes:
        averaged: the weights of the soup, before their BatchNorm statistics were recomputed.
    """

    judge: ErrorJudge | ScoreJudge
    averaged: Weights | None = None

    def __call__(self, weights: Weights, at_most: float | None = None) -> float | None:
        return self.judge(weights, at_most)

    def foresee(self, names: Sequence[str]) -> None:
        """See `soup.recipes.judge.Foreseeing`."""
        self.judge.foresee(names)

    def recalibrated(self, weights: Weights) -> Weights:
        """See `soup.recipes.judge.Recalibrating`."""
        self.averaged = weights
        return self.judge.recalibrated(weights)
