"""register: the soup -> a version of a registered model, and the champion if it is better."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from soup import tracking
from soup.data.text.examples import labels_of
from soup.errors import some
from soup.evaluation import prediction_file
from soup.evaluation.metrics import Correct, correct
from soup.evaluation.number_scores import MEASURE, NUMBER_SCORES, Numbers, value
from soup.evaluation.predict import predict
from soup.evaluation.promotion_gate import NOISE, Decision, Scored, decide, packed, scored
from soup.files import parse_json
from soup.models import open_model
from soup.pipeline.heldout import heldout_of
from soup.pipeline.project import Project
from soup.pipeline.stage_record import read_record

LINKED = 20  # ingredients in a version's description
ROWS = 30  # splits there


def run(project: Project) -> dict[str, Any]:
    """Register the soup with its lineage; `champion` moves only to what is better on held-out.

    Raises:
        TrackingError: the registry refuses.
        Refused: the registry holds other files than were registered, or such as are not ours.
    """
    store = project.store()
    cooked = read_record(project.out / "cook.json", run_id=str, model_id=str, recipe=str, kept=list)
    # In the score that the soup was chosen by.
    every = read_record(project.out / "scores.json", test=dict)
    metrics = {split: figures.get(cooked.get("score"), figures) for split, figures in every.items()}
    soup = store.get([cooked["run_id"]])[0]
    by_accuracy = cooked.get("score", "accuracy") == "accuracy"
    heldout = answers_in(project)
    inherited = ("base", "split", "sweep", "recipe", "ingredients", "digest", "commit")
    tags = {
        **project.lineage(),
        **{key: soup.tags[key] for key in (*inherited, tracking.WEIGHTS_DIGEST)},
        "kept": str(len(cooked["kept"])),
        "run": soup.run_id,
        **_heldout_tags(heldout),
        "test_accuracy" if by_accuracy else "test_score": str(metrics["test"]["soup"]),
        "test_gain": str(metrics["test"]["gain"]),
        "test_p": str(metrics["test"]["p_value"]),
    }
    description = _description(store, soup, cooked, metrics)
    store.describe(soup.run_id, description)
    version = tracking.register(
        store,
        project.params.registry.model,
        cooked["model_id"],
        soup.run_id,
        tags,
        description,
    )
    decision = promote(project, store, version, heldout)
    return {
        "model": version.model,
        "version": version.number,
        "run_id": soup.run_id,
        "promoted": decision.promote,
        "reason": decision.reason,
        "within_noise": decision.promote and decision.p is not None and decision.p >= NOISE,
        "summary": f"{version}, "
        f"{'the new champion' if decision.promote else 'not champion'}: {decision.reason}; test "
        f"{100 * metrics['test']['gain']:+.2f} against its best single model "
        f"(p = {metrics['test']['p_value']:.2g})",
    }


def answers_in(project: Project) -> Correct | Numbers:
    """Which held-out examples the soup gets right, or the numbers that it predicts for them."""
    if not project.predicts_numbers:
        return prediction_file.read(project.soup_heldout, "correct").astype(np.bool_)
    rows = project.manifest(project.development).split("heldout")
    labels = labels_of([row.label for row in rows], project.classes())
    outputs = prediction_file.read(project.soup_heldout)[:, 0]
    return Numbers(labels, outputs.astype(np.float32))


def _heldout_tags(heldout: Correct | Numbers) -> dict[str, str]:
    """The held-out result of a version, for its tags."""
    if isinstance(heldout, Numbers):
        score = value(NUMBER_SCORES[MEASURE], [heldout])
        return {"examples": str(len(heldout.labels)), MEASURE: f"{score:.6f}"}
    errors = int((~heldout).sum())
    return {
        "errors": str(errors),
        "examples": str(len(heldout)),
        "correct": packed(heldout),
    }


def promote(
    project: Project,
    store: tracking.Store,
    challenger: tracking.Version,
    heldout: Correct | Numbers,
) -> Decision:
    """Put a version to the gate; the champion answers anew if it is known on other images only.

    Args:
        heldout: which held-out images of the project the challenger gets right, or the numbers that
            it predicts.
    """
    numbers = heldout if isinstance(heldout, Numbers) else None
    right = None if isinstance(heldout, Numbers) else heldout

    def judge(holder: tracking.Version | None) -> Decision:
        def rescore() -> Correct | Numbers | None:
            assert holder is not None
            target = project.cache / "champions" / f"{holder.model}-{holder.number}"
            return answered(project, tracking.fetch(store, holder, target))

        split, back = challenger.tags["split"], tracking.rolled_back(store, challenger)
        return decide(
            Scored(challenger.number, split, right, back, numbers),
            scored(holder.number, holder.tags) if holder else None,
            rescore,
            project.params.registry.largest_p,
        )

    return tracking.promote(store, challenger, judge)


def answered(project: Project, folder: Path) -> Correct | Numbers | None:
    """Which held-out images the model in a folder gets right, or the numbers that it predicts.

    None if it knows other classes.
    """
    architecture, model = open_model(folder)
    if {*architecture.classes} != {*project.classes()}:
        return None
    heldout = heldout_of(project, architecture)
    model = model.to(project.device())
    logits = predict(model, heldout, project.params.compute.eval_batch_size)
    if architecture.predicts_numbers:
        return Numbers(heldout.labels, logits[:, 0])
    return correct(logits, heldout.labels)


def _description(
    store: tracking.Store,
    soup: tracking.Tracked,
    cooked: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> str:
    """Markdown that MLflow shows on the version's page, with links to where it came from."""

    def named(run: tracking.Tracked) -> str:
        # Relative, so that it works on whichever address the store is served from.
        page = f"#/experiments/{store.experiment_id}/runs/{run.run_id}"
        return f"[{run.name}]({page}?workflowType=machine_learning)"

    run_ids = parse_json(store.whole(soup.tags["ingredients"]), f"tag ingredients of {soup.name}")
    # MLflow's PostgreSQL holds 5,000 characters: 20 links of 110, and 30 rows.
    shown = [named(run) for run in store.get(run_ids[:LINKED])]
    ingredients = some([*shown, *run_ids[LINKED:]], LINKED, last=" ")
    rows = [
        f"| {split} | {m['best_single']:.2%} | {m['soup']:.2%} | {100 * m['gain']:+.2f} |"
        for split, m in metrics.items()
    ]
    return (
        f"A {cooked['recipe']} soup of {ingredients}, cooked by {named(soup)}, "
        "which lists them in its artifact ingredients.json.\n\n"
        "| split | best single | soup | gain |\n|---|---|---|---|\n" + some(rows, ROWS, "\n") + "\n"
    )
