"""cook: the ranked runs of the sweep -> the soup. Never sees test or shifts."""

import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from soup.errors import some
from soup.evaluation import prediction_file
from soup.evaluation.metrics import Correct, accuracy_interval, correct
from soup.evaluation.score_text import ACCURACY, score_text
from soup.files import of_file, write_text
from soup.models import Architecture, write_description
from soup.models.licence import origin
from soup.pipeline.candidate_pool import CandidatePool
from soup.pipeline.cooking.cost import cost_metrics
from soup.pipeline.data_sets import development_sets
from soup.pipeline.project import Project
from soup.pipeline.soup_card import write_card
from soup.report.figures import png
from soup.report.greedy_trace import greedy_trace
from soup.report.model_card import Figure
from soup.tracking import WEIGHTS_DIGEST, Store, save_pyfunc
from soup.weights import Weights
from soup.weights.checkpoint import Checkpoint, save
from soup.weights.shards import WEIGHTS_FILE


def run(project: Project, digest: str) -> dict[str, Any]:
    """Average the ingredients by the chosen recipe, judged on held-out, and keep the trace.

    Args:
        digest: names the soup's run.

    Raises:
        TrackingError: the runs do not belong together, or their weights were changed.
    """
    recipe, out = project.params.soup.recipe, project.out
    store = project.store()
    pool = CandidatePool(project, store)
    soup = pool.cook(recipe)
    examples = len(pool.heldout)
    header = {"recipe": recipe.name, "ingredients": json.dumps(soup.kept)}
    header |= {"options": json.dumps(recipe.options, sort_keys=True)} if recipe.options else {}
    _write_folder(out, pool.architecture, soup.weights, header)
    numbers = pool.architecture.predicts_numbers
    right = None if numbers else correct(soup.heldout, pool.heldout.labels)
    prediction_file.write(project.soup_heldout, soup.heldout, right)
    write_text(out / "trace.csv", soup.trace.to_csv(index=False, lineterminator="\n"))

    by_name = {stored.ingredient.name: stored.run for stored in pool.ranked}
    kept = [by_name[name] for name in dict.fromkeys(soup.kept)]
    tags = {
        **project.lineage(),
        **pool.shared,
        "recipe": recipe.label,
        "kept": str(len(kept)),
        "ingredients": json.dumps([run.run_id for run in kept]),
        WEIGHTS_DIGEST: of_file(out / "soup" / WEIGHTS_FILE),
    }
    name = f"{recipe.label} soup"
    settings: dict[str, Any] = {
        "recipe": recipe.name,
        "tie": project.params.soup.tie,
        "kept": len(kept),
        **recipe.options,
    }
    settings |= {"score": pool.score_name} if pool.score is not None else {}
    batchnorm = {"batchnorm": soup.batchnorm} if soup.batchnorm else {}
    settings |= {"recalibrated_on": soup.recalibrated_on} if soup.recalibrated_on else {}
    train, heldout = development_sets(project)
    used = (train, heldout) if soup.recalibrated_on else (heldout,)
    run_id = store.start("soup", digest, name, tags, settings)
    score, single = map(pool.score_from, (soup.errors, pool.ranked[0].ingredient.errors))
    told = (
        f"{recipe.label} keeps {len(kept)} of {len(pool.ranked)}: held-out "
        f"{score_text(pool.score_name, score)}, best single {score_text(pool.score_name, single)}"
    )
    seen = soup.trace["examples_seen"]
    if pool.score is not None and seen.sum():
        passes = int((seen > 0).sum()) * examples
        told += f"; early rejection saved {1 - seen.sum() / passes:.0%} of the passes"
    store.describe(run_id, f"{told}. Kept: {some([run.name for run in kept], 20, last=' ')}.")
    store.log_inputs(run_id, used, [run.model_id for run in kept])
    errors = None if right is None else int((~right).sum())
    figures: dict[str, float] = {}
    if errors is not None:
        figures = {"heldout/errors": errors, "heldout/accuracy": 1 - errors / examples}
    figures |= {} if pool.score is None else {f"heldout/{pool.score_name}": score}
    columns = {"ingredient": [run.name for run in kept], "run": [run.run_id for run in kept]}
    store.log_table(run_id, columns, "ingredients.json")
    _log_trace(store, run_id, soup.trace, pool.score_name, project.unit)
    digests = {run.name: run.tags.get(WEIGHTS_DIGEST, "") for run in kept}
    known = {"recipe": recipe.label, "origin": origin(project.params.base)._asdict()}
    facts = {"soup run": run_id, "commit": tags["commit"] or "unknown"}
    write_card(project, known, digests, _heldout_figures(project, right), facts)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        save_pyfunc(out / "soup", model, tags[WEIGHTS_DIGEST])
        model_id = store.log_weights(run_id, name.replace(" ", "-"), model, tags)
    store.log(run_id, 0, figures | cost_metrics(soup.cost), model_id, used)
    store.end(run_id)
    return {
        **known,
        "digests": digests,
        "run_id": run_id,
        "model_id": model_id,
        "kept": list(soup.kept),
        "single": pool.ranked[0].ingredient.name,
        "errors": errors,
        "examples": examples,
        "score": pool.score_name,
        "heldout_score": score,
        "cost": asdict(soup.cost),
        **batchnorm,
        "summary": "; ".join([told, *batchnorm.values()]),
    }


def _write_folder(
    out: Path, architecture: Architecture, weights: Weights, header: Mapping[str, str]
) -> None:
    """The folder of the soup, as the library of the model opens it."""
    write_description(architecture, out / "soup")
    save(weights, out / "soup" / WEIGHTS_FILE, header)
    if architecture.library == "open_clip":
        from soup.models.clip_folder import with_text_tower

        with_text_tower(Checkpoint(out / "soup" / WEIGHTS_FILE), out / "base", out / "soup")


def _heldout_figures(project: Project, right: Correct | None) -> list[Figure]:
    """The soup's accuracy on the held-out examples that it was chosen by."""
    if right is None:
        return []
    low, high = accuracy_interval([right], *project.resampling)
    split = "held-out, which chose the soup"
    return [Figure(split, ACCURACY, float(right.mean()), low, high, len(right))]


def _log_trace(store: Store, run_id: str, trace: pd.DataFrame, score: str, unit: str) -> None:
    """The trace in MLflow: metrics by step, a table and a figure."""
    steps: dict[int, dict[str, float]] = {}
    for row in trace.to_dict("records"):
        metrics = {f"trace/heldout_{score}": row["heldout_accuracy"]}
        metrics["trace/examples_seen"] = row["examples_seen"]
        known = {key: value for key, value in metrics.items() if not math.isnan(value)}
        steps[int(row["step"])] = known
    store.log_steps(run_id, steps)
    columns = trace.astype(object).where(trace.notna(), None).to_dict("list")
    store.log_table(run_id, columns, "trace.json")
    with tempfile.TemporaryDirectory() as folder:
        figure = Path(folder) / "trace.png"
        figure.write_bytes(png(greedy_trace(trace, score, unit)))
        store.log_files(run_id, [figure], "plots")
