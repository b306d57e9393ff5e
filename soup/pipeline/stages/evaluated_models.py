"""The models that evaluate scores: where the weights and the held-out logits of each come from."""

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import pandas as pd

from soup.config.recipe import Recipe
from soup.errors import BadInput
from soup.evaluation import prediction_file
from soup.evaluation.examples import Examples
from soup.evaluation.prediction_cache import Source, digest_of
from soup.files import write_text
from soup.pipeline.candidate_pool import CandidatePool
from soup.pipeline.cooking.result import COLUMNS, SoupResult
from soup.pipeline.project import Project
from soup.tracking import WEIGHTS_DIGEST, Store, Stored, TrackingError, prediction_store
from soup.weights import Weights, materialize
from soup.weights.checkpoint import Checkpoint
from soup.weights.shards import WEIGHTS_FILE

SMALL = 8 * 2**20  # bytes


def zero_shot_head(project: Project) -> dict[str, Any]:
    """The head that the base's text tower made, before any training; empty without one."""
    return materialize(Checkpoint(project.out / "base" / "zeroshot.safetensors"))


def zero_shot(project: Project, run_id: str) -> Source:
    """The base with that head."""

    def weights() -> Weights:
        base = Checkpoint(project.out / "base" / WEIGHTS_FILE)
        return {**materialize(base), **zero_shot_head(project)}

    return Source("zero-shot", "zero-shot", run_id, weights, cache(lambda: digest_of(weights())))


def single(stored: Stored) -> Source:
    """A fine-tune, or the linear probe; its files were checked when they were pulled."""
    name, run = stored.ingredient.name, stored.run
    return Source(
        name,
        "probe" if name == "probe" else "ingredient",
        run.run_id,
        lambda: stored.ingredient.weights,
        lambda: run.tags[WEIGHTS_DIGEST],
        lambda: stored.logits,
        prediction_store.stored_by(run),
    )


def cooked_soup(project: Project, store: Store, cooked: Mapping[str, Any]) -> Source:
    """The soup that was cooked.

    Raises:
        TrackingError: its weights are not those that were cooked.
    """
    file = project.out / "soup" / WEIGHTS_FILE
    run = store.get([cooked["run_id"]])[0]
    recorded = run.tags[WEIGHTS_DIGEST]
    if Checkpoint(file).digest() != recorded:
        raise TrackingError(
            f"{file} is not what was cooked: its SHA-256 is not {recorded}; run cook again"
        )
    return Source(
        f"{cooked['recipe']} soup",
        cooked["recipe"],
        run.run_id,
        lambda: Checkpoint(file),
        # As for the other soup, whose file has another header: either may be cooked at a time.
        cache(lambda: digest_of(Checkpoint(file))),
        partial(prediction_file.read, project.soup_heldout),
        prediction_store.stored_by(run),
    )


def compared_soup(recipe: Recipe, result: SoupResult, run_id: str) -> Source:
    """A soup to compare with."""
    return Source(
        f"{recipe.label} soup",
        recipe.label,
        run_id,
        lambda: result.weights,
        cache(lambda: digest_of(result.weights)),
        lambda: result.heldout,
    )


def kept_splits(wanted: list[str] | None, sets: Mapping[str, Examples], classes: int) -> list[str]:
    """The splits whose logits are stored: those asked for, or those whose float16 logits are few.

    Held-out logits are stored with each run in any case.
    """
    if wanted is not None:
        return wanted
    small = [split for split, examples in sets.items() if 2 * len(examples) * classes <= SMALL]
    return [split for split in small if split != "heldout"]


def compared_soups(
    project: Project, pool: CandidatePool, chosen: str
) -> tuple[dict[str, tuple[Recipe, SoupResult]], list[str]]:
    """The soups of other recipes than the chosen one, by label, and why some are left out."""
    soups, warnings = {}, []
    recipes = [recipe for recipe in project.params.soup.recipes if recipe.label != chosen]
    for recipe in recipes:
        try:
            soups[recipe.label] = recipe, pool.cook(recipe)
        except BadInput as error:
            warnings.append(f"no {recipe.label} soup to compare with: {error}")
    traces = [result.trace.assign(recipe=label) for label, (_, result) in soups.items()]
    traces = [trace for trace in traces if trace["heldout_errors"].notna().any()]
    empty = pd.DataFrame(columns=[*COLUMNS, "recipe"])
    together = pd.concat(traces) if traces else empty
    write_text(project.out / "traces.csv", together.to_csv(index=False, lineterminator="\n"))
    return soups, warnings
