"""soup cook: checkpoints in, one model out."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from soup.cli.checkpoints import Pool, open_base, open_pool, require_alike
from soup.cli.cook_options import DTYPES, CookOptions, options_of, parameters_of, recipe_of
from soup.cli.heldout_folder import open_evaluator
from soup.cli.soup_quality import Made, Scored, judged, of_models
from soup.cli.terminal import print_json, progress, say, warn
from soup.errors import BadInput
from soup.evaluation.judges import TOP1_ERROR
from soup.evaluation.scores import COUNTS, SCORES
from soup.models.by_name import NOTE
from soup.recipes.ingredient import Ingredient, Soup
from soup.recipes.parallel_greedy import parallel_greedy
from soup.weights import Weights, average
from soup.weights.checkpoint import Checkpoint, save


def cook(order: CookOptions) -> None:
    """Everything is checked before anything is computed, and nothing is written before the end."""
    recipe = recipe_of(order)
    arguments = options_of(recipe, order)
    with progress("reading", len(order.models)) as advance:
        pool = open_pool(order.models, advance)
    _require_apart(order, pool)
    require_alike(pool)
    for names in pool.twice:
        warn(f"{' and '.join(names)} are the same model, which then counts twice")
    base = None if order.base is None else _base(order.base, pool)
    if base is not None and "base" in parameters_of(recipe):
        arguments["base"] = base
    ingredients = [Ingredient(n, c, math.nan) for n, c in pool.checkpoints.items()]
    scored = None if order.heldout is None else _score(order, pool, ingredients)
    made = _cook(order, recipe, arguments, scored, ingredients)
    weights: Weights = made.soup.weights
    if order.dtype:
        weights = average([weights], dtype=DTYPES[order.dtype])
    report = {"out": str(order.out), "recipe": order.recipe, "kept": list(made.soup.kept)}
    if scored is not None:
        weights, figures = judged(order, scored, made, weights)
        report |= figures
    notes = _notes(order, pool, made.soup, scored)
    save(weights, order.out, notes)
    say(f"[bold]{order.out}[/]  {order.recipe} of {of_models(made.soup)}")
    if order.mlflow:
        from soup.cli.mlflow_run import log

        report["run_id"] = log(order.mlflow, order.experiment, order.out, notes, report)
        say(f"logged to {order.mlflow}, experiment {order.experiment}, run {report['run_id']}")
    if order.as_json:
        print_json(report)


def _require_apart(order: CookOptions, pool: Pool) -> None:
    sources = {Path(f).resolve() for c in pool.checkpoints.values() for f in c.files}
    if order.base:
        sources |= {Path(file).resolve() for file in Checkpoint(order.base).files}
    if order.out.resolve() in sources:
        raise BadInput(f"--out {order.out} is one of the inputs: give another name")


def _base(path: str, pool: Pool) -> Checkpoint:
    base = open_base(path, pool)
    digest = base.digest()
    for name, checkpoint in pool.checkpoints.items():
        own = checkpoint.metadata.get("base")
        if own not in (None, digest):
            warn(f"{name} says that its base is {own[:12]}, and {path} is {digest[:12]}")
    return base


def _score(order: CookOptions, pool: Pool, ingredients: Sequence[Ingredient]) -> Scored:
    assert order.heldout is not None
    first = next(iter(pool.checkpoints.values()))
    with progress("decoding", None) as advance:
        exam = open_evaluator(
            order.heldout, order.model, first, order.devices, order.batch_size, advance
        )
    for problem in exam.skipped[:5]:
        warn(f"left out: {problem}")
    correct, scored = {}, []
    costs = [] if order.metric in COUNTS else exam.score_judges(SCORES[order.metric])
    with progress("scoring", len(ingredients)) as advance:
        for one in ingredients:
            logits = torch.from_numpy(exam.logits(one.weights))
            wrong = COUNTS.get(order.metric, TOP1_ERROR)(
                logits, torch.from_numpy(exam.examples.labels)
            )
            correct[one.name] = (~wrong).numpy()
            cost: float | None = int(wrong.sum())
            if costs:
                cost = costs[0](one.weights)
            scored.append(replace(one, errors=math.nan if cost is None else cost))
            advance()
    return Scored(exam, scored, correct)


def _cook(
    order: CookOptions,
    recipe: Callable[..., Soup],
    arguments: dict[str, Any],
    scored: Scored | None,
    ingredients: Sequence[Ingredient],
) -> Made:
    needs = parameters_of(recipe)
    if scored is None:
        return Made(recipe(ingredients, **arguments), [])
    exam, counts = scored.exam, order.metric in COUNTS
    judges: Sequence[Any] = (
        exam.judges([*scored.correct.values()], COUNTS[order.metric])
        if counts
        else exam.score_judges(SCORES[order.metric])
    )
    with progress(order.recipe, None) as advance:
        if "objective" in needs:
            arguments["objective"] = exam.objective()
        if "fishers" in needs:
            arguments["fishers"] = [exam.fisher(one.weights) for one in ingredients]
        if order.recipe == "greedy" and len(judges) > 1:
            soup = parallel_greedy(scored.ingredients, judges, **arguments)
            return Made(soup, [])
        if "judge" in needs:
            arguments["judge"] = _watched(judges[0], advance)
        soup = recipe(scored.ingredients, **arguments)
    full = [a for a in judges[0].answers if a is not None] if counts else []
    greedy = order.recipe == "greedy" and counts
    return Made(soup, full[-(len(soup.kept) - 1) :] if greedy and len(soup.kept) > 1 else [])


def _watched(judge: Any, advance: Callable[[], None]) -> Any:
    def watched(weights: Weights, at_most: float | None = None) -> Any:
        advance()
        return judge(weights, at_most)

    return watched


def _notes(order: CookOptions, pool: Pool, soup: Soup, scored: Scored | None) -> dict[str, str]:
    """The soup's own lineage, in its file: the same inputs give the same bytes."""
    used = dict.fromkeys(soup.kept)
    notes = {
        "recipe": order.recipe,
        "options": json.dumps(dict(order.options), sort_keys=True),
        "ingredients": json.dumps({name: pool.digests[name] for name in used}),
        "candidates": str(len(pool.checkpoints)),
        "accumulate": order.accumulate,
    }
    bases = {c.metadata.get("base", "") for c in pool.checkpoints.values()}
    if order.base:
        notes["base"] = Checkpoint(order.base).digest()
    elif len(bases) == 1 and bases != {""}:
        notes["base"] = bases.pop()
    if scored is not None:
        notes[NOTE] = scored.exam.architecture.text()
    else:
        first = next(iter(pool.checkpoints.values()))
        notes |= {NOTE: first.metadata[NOTE]} if NOTE in first.metadata else {}
    return notes
