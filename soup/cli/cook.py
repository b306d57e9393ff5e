"""soup cook: checkpoints in, one model out."""

import json
import math
from collections.abc import Callable, Mapping
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soup.cli.cook_adapter import require_rank, write_adapter
from soup.cli.cook_options import CookOptions, arguments_of, parameters_of, recipe_of
from soup.cli.model_options import tell_input, with_model
from soup.cli.options import devices
from soup.errors import BadInput

if TYPE_CHECKING:
    from soup.cli.checkpoints import Pool
    from soup.cli.heldout import Scored
    from soup.recipes.ingredient import Soup
    from soup.weights import Weights
    from soup.weights.checkpoint import Checkpoint


@with_model
@wraps(CookOptions, assigned=("__annotations__",))  # the options, by which typer reads them
def cook(**given: Any) -> None:
    """Average models: all of them, or those that help on held-out images.

    soup cook --out OUT.safetensors A B C

    soup cook --model timm:NAME --heldout FOLDER --out OUT.safetensors A B C

    Everything is checked before anything is computed, and the soup is written at the end, whole.
    """
    from soup.cli.checkpoints import open_pool, require_alike, warn_of_merge
    from soup.cli.plan import tell_plan
    from soup.cli.tensor_choices import chosen
    from soup.cli.terminal import print_json, say
    from soup.recipes.ingredient import Ingredient

    options = CookOptions(**given)
    where = devices(options.device)
    recipe = recipe_of(options)
    arguments = arguments_of(recipe, options)
    # Where no image is judged, all models are read once: digests are computed as they are averaged.
    judged_by_images = options.heldout is not None and not options.dry_run
    opened = open_pool(options.models, options.base, digested=judged_by_images)
    pool = chosen(options, opened)
    _require_other_output(options, pool)
    require_rank(options, pool)
    require_alike(pool)
    warn_of_merge(pool, options.dtype)
    pool.warn_of_twins()
    if options.dry_run:
        tell_plan(options, pool, arguments)
        return
    if options.mlflow:
        from soup.cli.mlflow_run import log, require

        require(options.mlflow, options.experiment)
    arguments |= _base_of(recipe, options, opened, pool)
    ingredients = [Ingredient(n, c, math.nan) for n, c in pool.checkpoints.items()]
    report: dict[str, Any] = {"out": str(options.out), "recipe": options.recipe}
    scored: Scored | None = None
    figures: dict[str, Any] = {}
    if options.heldout is None:
        soup = recipe(ingredients, **arguments)
        weights = _cast(soup, options.dtype)
    else:
        from soup.cli.heldout import cook_by, score
        from soup.cli.soup_quality import judged

        scored = score(options, pool, ingredients, where)
        cooked = cook_by(options, recipe, arguments, scored)
        soup = cooked.soup
        weights, figures = judged(options, scored, cooked, _cast(soup, options.dtype))
    report |= {"kept": list(soup.kept), **figures}
    notes = _notes(options, pool, scored, figures, arguments.get("base"))
    notes, written = _write(options, pool, soup, weights, notes, figures)
    report |= written
    if options.mlflow:
        run_id = log(options.mlflow, options.experiment, options.out, notes, report)
        report["run_id"] = run_id
        say(f"logged to {options.mlflow}, experiment {options.experiment}, run {run_id}")
    if options.as_json:
        print_json(report)


def _write(
    options: CookOptions,
    pool: "Pool",
    soup: "Soup",
    weights: "Weights",
    notes: dict[str, str],
    judged: Mapping[str, Any],
) -> tuple[dict[str, str], dict[str, Any]]:
    """Write the soup's file, or the folder of an adapter; return its metadata, and figures.

    Args:
        judged: the soup's figures on held-out examples; empty without them.
    """
    from soup.cli.soup_file import ingredients_note, write_soup
    from soup.cli.soup_folder import complete_folder
    from soup.cli.terminal import bold, models_in, say

    beside: list[str] = []
    figures: dict[str, Any] = {}
    if options.rank is None:
        notes = write_soup(weights, options.out, pool, soup.kept, notes)
        beside = complete_folder(options.out, pool, notes, judged, options.base)
    else:
        notes = {**notes, **ingredients_note(soup.kept, pool.digests)}
        figures = write_adapter(options, pool, soup, weights, notes)
    say(bold(options.out), f" {options.recipe} of {models_in(soup.kept)}")
    if beside:
        say(f"beside it: {', '.join(beside)}")
    return notes, figures


def _cast(soup: "Soup", dtype: str | None) -> "Weights":
    """The soup's weights in the type that is asked for."""
    import torch

    from soup.weights import cast

    return cast(soup.weights, getattr(torch, dtype)) if dtype else soup.weights


def _require_other_output(options: CookOptions, pool: "Pool") -> None:
    from soup.weights.checkpoint import Checkpoint

    inputs = {Path(f).resolve() for c in pool.checkpoints.values() for f in c.files}
    if options.base:
        inputs |= {Path(file).resolve() for file in Checkpoint(options.base).files}
    if options.out.resolve() in inputs:
        raise BadInput(f"--out {options.out} is one of the inputs: give another name")


def _base_of(
    recipe: "Callable[..., Soup]", options: CookOptions, opened: "Pool", pool: "Pool"
) -> dict[str, "Checkpoint"]:
    """The base that is given, as the recipe's argument if it takes one."""
    wanted = "base" in parameters_of(recipe)
    # The base of adapters may be a published encoder: it lacks the head that each of them brings.
    if options.base is None or (pool.has_adapters and not wanted):
        return {}
    base = _base(options, opened, pool)
    return {"base": base} if wanted else {}


def _base(options: CookOptions, opened: "Pool", pool: "Pool") -> "Checkpoint":
    from soup.cli.checkpoints import open_base
    from soup.cli.tensor_choices import view
    from soup.cli.terminal import warn

    path = str(options.base)
    seen = partial(view, options, opened) if options.exclude or options.take else None
    base = open_base(path, pool, seen)
    digest = base.digest()
    for name, checkpoint in pool.checkpoints.items():
        noted = checkpoint.metadata.get("base")
        if noted not in (None, digest):
            warn(f"{name} says that its base is {noted[:12]}, and {path} is {digest[:12]}")
    return base


def _notes(
    options: CookOptions,
    pool: "Pool",
    scored: "Scored | None",
    figures: Mapping[str, Any],
    base: "Checkpoint | None",
) -> dict[str, str]:
    """The soup's lineage for the metadata of its file, but for the digests of its ingredients.

    The same inputs give the same bytes.
    """
    from soup.models.stored_description import NOTE
    from soup.weights.checkpoint import Checkpoint

    notes = {
        "recipe": options.recipe,
        "options": json.dumps(options.recipe_options, sort_keys=True),
        "candidates": str(len(pool.checkpoints)),
        "accumulate": options.accumulate,
    }
    for option in ("weights", "exclude", "take"):
        if given := getattr(options, option):
            notes[option] = json.dumps(given)
    bases = {c.metadata.get("base", "") for c in pool.checkpoints.values()}
    if options.base:
        notes["base"] = (Checkpoint(options.base) if base is None else base).digest()
    elif len(bases) == 1 and bases != {""}:
        notes["base"] = bases.pop()
    recalibration = figures.get("recalibration", {})
    if recalibration.get("written") == "recomputed":
        notes["batchnorm"] = f"recomputed on {recalibration['images']} images"
    if scored is not None:
        from soup.evaluation.diagnosis.low_scores import RECORD  # it needs NumPy

        if options.metric != "top5" and not scored.evaluator.predicts_numbers:
            notes[RECORD] = f"{figures['soup']['accuracy']:.6f}"
        return {**notes, NOTE: scored.evaluator.architecture.text()}
    description = _description(options, pool)
    return notes | ({NOTE: description} if description else {})


def _description(options: CookOptions, pool: "Pool") -> str:
    """What is known of the model where no image was judged; '' if nothing is."""
    from soup.models.stored_description import note, stored

    first = next(iter(pool.checkpoints.values()))
    if not options.model.model and not options.model.given():
        fields = stored(first).fields
        return note(fields) if fields else ""
    from soup.models import build
    from soup.models.by_name import numbered, resolve_architecture

    resolved = resolve_architecture(options.model.model, first, ("0",), options.model.given())
    tell_input(pool.checkpoints, resolved)
    build(numbered(resolved, first), first)  # raises if the weights are of another model
    fields = vars(resolved.architecture)
    return note(fields if resolved.named else {k: v for k, v in fields.items() if k != "classes"})
