"""Scored models kept in MLflow as ingredients of a sweep."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from soup.config.params import Params
from soup.evaluation.heldout import PREDICTIONS_FILE, Result
from soup.evaluation.score_text import ACCURACY
from soup.files import of_file, of_value
from soup.pipeline.project import Project, score_name
from soup.pipeline.sweep import imported_pool
from soup.pipeline.sweep.heldout_score import BY_ACCURACY, HeldoutScore
from soup.pipeline.sweep.part import Part
from soup.tracking import DataSet, Store, ingredients


def start_sweep(
    store: Store,
    params: Params,
    digest: str,
    tags: Mapping[str, str],
    data_sets: Sequence[DataSet] = (),
) -> str:
    """Begin the run of a sweep, with what was searched as its parameters; its id.

    Args:
        data_sets: that the sweep uses.
    """
    sweep, base = params.sweep, params.base
    kind, what = ("sweep", "fine-tunes") if sweep.imported is None else ("imported", "checkpoints")
    # Not how many: a larger sweep is the same run.
    searched = sweep.model_dump(
        mode="json", by_alias=True, exclude={"runs", "halving"}, exclude_none=True
    )
    settings = flat(searched) | {"base.model": base.model, "base.weights": base.weights}
    run_id = store.start(
        "sweep", digest, f"{kind} {digest[:8]}", tags, settings, data_sets=data_sets
    )
    store.describe(run_id, f"{sweep.runs} {what} of {base.model}, each of which is a run below.")
    return run_id


def flat(values: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """Nested settings as one mapping, by names such as 'space.lr.min'."""
    named = {f"{within}{name}": value for name, value in values.items()}
    nested = {name: value for name, value in named.items() if isinstance(value, Mapping)}
    settings = {name: value for name, value in named.items() if name not in nested}
    for name, value in nested.items():
        settings |= flat(value, f"{name}.")
    return settings


def tell_unused(store: Store, parts: Iterable[Part], say: Callable[[str], None]) -> None:
    """Say how many finished ingredients the experiment has, if a new sweep can reuse none of them.

    Args:
        parts: of the new sweep.
    """
    wanted = {digest for part in parts for digest in part.digests.values()}
    finished = {
        digest: run
        for digest, run in store.finished().items()
        if run.tags["kind"] == "ingredient" and run.name != "probe"
    }
    if finished and not wanted & finished.keys():
        say(
            f"{len(finished)} finished ingredients of this experiment are not reused: code, base "
            "model, split or hyperparameters differ from those of this sweep"
        )


def record_ingredient(
    store: Store,
    run_id: str,
    name: str,
    result: Result,
    tags: Mapping[str, str],
    step: int,
    score: HeldoutScore = BY_ACCURACY,
    data_sets: Sequence[DataSet] = (),
) -> None:
    """Store weights, answers and score of an ingredient in its run, and end the run.

    Args:
        data_sets: that the run uses; its score is of the held-out one.
    """
    digests = {f"sha256.{f.name}": of_file(f) for f in (result.weights, result.predictions)}
    store.tag(run_id, digests)
    model_id = store.log_weights(run_id, name, result.weights.parent, {**tags, **digests}, step)
    store.log(run_id, step, score.metrics(result), model_id, data_sets)
    store.end(run_id)


def record_probe(
    store: Store,
    sweep: str,
    probe: Result,
    tags: Mapping[str, str],
    score: HeldoutScore,
    data_sets: Sequence[DataSet] = (),
) -> str:
    """The linear probe as an ingredient of a sweep, as in the paper; its run id."""
    digest = of_value({"probe": tags["base"], "sweep": tags["sweep"]})
    known = store.find(digest)
    if known is not None:
        return known.run_id
    run_id = store.start("ingredient", digest, "probe", tags, parent=sweep, data_sets=data_sets)
    record_ingredient(store, run_id, "probe", probe, tags, 0, score, data_sets)
    return run_id


def finish_sweep(
    store: Store,
    sweep: str,
    probe: Result,
    tags: Mapping[str, str],
    outcomes: Iterable[Mapping[str, str] | BaseException],
    score: HeldoutScore,
    cache: Path,
    data_sets: Sequence[DataSet] = (),
) -> tuple[dict[str, str], str]:
    """End a sweep: the run ids of its ingredients by name, and which of them is the best.

    Args:
        outcomes: the run ids, by name, of what each part of it made; or what it raised.
        score: that ingredients are ranked by.
        cache: folder for downloaded models.
        data_sets: that the sweep uses.
    """
    runs = {"probe": record_probe(store, sweep, probe, tags, score, data_sets)}
    for outcome in outcomes:
        if not isinstance(outcome, BaseException):
            # A grid may hold one configuration twice; it is one ingredient.
            runs |= {name: run for name, run in outcome.items() if run not in runs.values()}
    store.end(sweep)
    if score.score is None:
        best, errors = store.ranking(runs)[0]
        return runs, f"best {best} {score.text(1 - errors / probe.examples)} held-out"
    ranked = store.ranking(runs, score.metric)
    if len(ranked) < len(runs):
        _score_again(store, [*runs.values()], score, cache, data_sets)
        ranked = store.ranking(runs, score.metric)
    if not ranked:  # a score that is not defined on this held-out set
        return runs, f"held-out {score.text(math.nan)}"
    best, value = ranked[-1]
    return runs, f"best {best} {score.text(value)} held-out"


def _score_again(
    store: Store,
    run_ids: list[str],
    score: HeldoutScore,
    cache: Path,
    data_sets: Sequence[DataSet],
) -> None:
    """Log the score of the ingredients that were finished when another score was asked for."""
    for stored in ingredients(store, run_ids, cache):
        if score.metric not in stored.run.metrics:
            value = score.of_file(stored.folder / PREDICTIONS_FILE)
            run = stored.run
            store.log(run.run_id, 0, {score.metric: value}, run.model_id, data_sets)


def still_valid(project: Project, record: Mapping[str, Any]) -> bool:
    """Whether a finished sweep's record still holds.

    It does not where a part was killed or its files are damaged, or where the imported folder or
    the score that soups are chosen by changed.
    """
    imported = project.params.sweep.imported is not None
    if imported and record.get("listing") != imported_pool.listing(project):
        return False
    # Another score may stop other fine-tunes, and name another best.
    if record.get("score", ACCURACY) != score_name(project.params):
        return False
    return not record.get("crashed") and project.store().all_finished(record["runs"].values())
