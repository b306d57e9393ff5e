"""evaluate: every model on held-out, test and the shifts; the first stage that sees these two."""

import json
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd

from soup.data.loading.examples import examples
from soup.data.shifts.protocol import REAL, EvaluationProtocol, load
from soup.data.split.manifest import Manifest
from soup.evaluation import ensemble
from soup.evaluation.examples import Examples
from soup.evaluation.metrics import Logits
from soup.evaluation.predict import predict
from soup.evaluation.prediction_cache import PredictionCache, digest_of
from soup.evaluation.result_tables import Model, headline, paired, table
from soup.evaluation.targets import Targets, among_present, key
from soup.files import write_json, write_text
from soup.models import Architecture, load_weights
from soup.models.transforms import image_input
from soup.pipeline.candidate_pool import CandidatePool
from soup.pipeline.project import Project
from soup.tracking import Store, Stored, ingredients, prediction_store
from soup.weights import Weights, materialize
from soup.weights.checkpoint import Checkpoint

RECIPES = ("uniform", "greedy")


def run(project: Project, digest: str) -> dict[str, Any]:
    """Score ingredients, soups and ensembles, with intervals and paired tests.

    Args:
        digest: the start of the digests of the runs made here.

    Raises:
        TrackingError: the runs do not belong together, or their weights were changed.
        DataError: an image is not what it was when the split was made.
    """
    params, out = project.params, project.out
    store = project.store()
    sweep = json.loads((out / "finetune.json").read_text())
    cooked = json.loads((out / "cook.json").read_text())
    pool = CandidatePool(project, store)
    sets, keys = sets_of(project, pool.architecture, pool.heldout)

    def compute(weights: Weights, images: Examples) -> Logits:
        load_weights(pool.model, weights, pool.architecture.model)
        # Held-out decides, and is scored in every stage alike.
        bf16 = params.evaluate.bf16 and images is not pool.heldout
        size = params.compute.eval_batch_size
        return predict(pool.model, images, size, bf16)

    answers = PredictionCache(
        sets,
        pool.architecture,
        compute,
        params.evaluate.keep_predictions,
        partial(prediction_store.find, store),
        "bf16" if params.evaluate.bf16 else "",
    )
    everyone = ingredients(store, [*sweep["runs"].values()], project.cache / "models")
    with project.track("evaluating", len(everyone) + len(RECIPES) + 1, "models") as advance:
        singles, soups = {}, {}
        for stored in everyone:
            singles[stored.ingredient.name] = _single(stored, answers)
            advance(1)
        for recipe in RECIPES:
            found = answers(f"{recipe} soup", *_soup(recipe, project, pool, cooked))
            soups[recipe] = Model(f"{recipe} soup", recipe, found)
            advance(1)
        zero_shot = _zero_shot(project, answers)
        advance(1)
    members = [singles[stored.ingredient.name] for stored in pool.ranked]
    best = Model("best single", "best single", members[0].logits)
    chosen = soups[cooked["recipe"]]
    order = ensemble.greedy([m.logits["heldout"] for m in members], pool.heldout.labels)
    ensembles = [
        _ensemble("ensemble", members),
        _ensemble("greedy ensemble", [members[index] for index in order]),
    ]
    shifts = [*params.data.shifts]
    everything = [*zero_shot, *singles.values(), best, *soups.values(), *ensembles]
    results = table(everything, keys, shifts, params.evaluate)
    tests = paired(chosen, best, keys, shifts, params.evaluate)
    metrics = headline(results, tests, cooked["recipe"])
    write_text(out / "results.csv", _csv(results))
    write_text(out / "tests.csv", _csv(tests))
    write_text(out / "plane.csv", _csv(_plane(results, "shifts" if shifts else "heldout")))
    write_json(out / "metrics.json", metrics)

    runs = {name: stored.run.run_id for name, stored in zip(singles, everyone, strict=True)}
    runs[chosen.name] = cooked["run_id"]
    _log(store, results, runs, scored=True)
    for name, run_id in runs.items():
        answers.store(name, run_id, partial(prediction_store.keep, store))
    tags = project.lineage() | pool.shared
    for model in [*zero_shot, *soups.values(), *ensembles]:
        if model is not chosen:
            kind = {"uniform": "soup", "greedy": "soup", "zero-shot": "baseline"}.get(
                model.kind, "ensemble"
            )
            own = f"{digest}-{model.name.replace(' ', '-')}"
            runs[model.name] = store.start(kind, own, model.name, tags)
            _log(store, results, {model.name: runs[model.name]})
            answers.store(model.name, runs[model.name], partial(prediction_store.keep, store))
            store.end(runs[model.name])
    told = [s for s in ("test", "shifts") if s in metrics]
    gains = [f"{s} {metrics[s]['soup']:.2%} ({100 * metrics[s]['gain']:+.2f})" for s in told]
    return {"runs": runs, "summary": ", ".join(gains)}


def sets_of(
    project: Project, architecture: Architecture, heldout: Examples
) -> tuple[dict[str, Examples], dict[str, Targets]]:
    """The images to be looked at, and the keys to the answers; some splits share their images."""
    classes, data = architecture.classes, project.params.data
    rows, protocols = Manifest.load(project.evaluation), load(project.protocols)
    sets: dict[str, Examples] = {"heldout": heldout}
    keys = {"heldout": among_present("heldout", heldout.labels)}
    paths: dict[str, list[str]] = {}
    for split in ("test", *data.shifts, *([REAL] if data.real else [])):
        own = rows.split(split)
        paths[split] = [row.path for row in own]
        protocol = protocols.get(split, EvaluationProtocol())
        keys[split] = key(split, [(r.path, r.label) for r in own], classes, protocol, paths)
        if not protocol.of:
            known = [*(protocol.answers or classes)]
            inputs = image_input(architecture, protocol.border)
            sets[split] = examples(project.image_store(), own, known, inputs)
    return sets, keys


def _zero_shot(project: Project, answers: PredictionCache) -> list[Model]:
    """The base with the head that its text tower made, before any training; none without one."""
    base = project.out / "base"
    head = materialize(Checkpoint(base / "zeroshot.safetensors"))
    if not head:
        return []
    weights = {**materialize(Checkpoint(base / "model.safetensors")), **head}
    return [Model("zero-shot", "zero-shot", answers("zero-shot", weights, digest_of(weights)))]


def _single(stored: Stored, answers: PredictionCache) -> Model:
    name, weights = stored.ingredient.name, stored.ingredient.weights
    kind = "initialisation" if name == "probe" else "ingredient"
    digest = stored.run.tags["sha256.model.safetensors"]
    return Model(name, kind, answers(name, weights, digest, heldout=stored.logits))


def _soup(
    recipe: Any, project: Project, pool: CandidatePool, cooked: Mapping[str, Any]
) -> tuple[Weights, str]:
    """The soup that was cooked, or, to compare with, one by the other recipe; and its digest."""
    if recipe == cooked["recipe"]:
        checkpoint = Checkpoint(project.out / "soup" / "model.safetensors")
        return checkpoint, checkpoint.digest()
    weights = pool.cook(recipe, project.params.soup.tie).soup.weights
    return weights, digest_of(weights)


def _ensemble(kind: str, members: list[Model]) -> Model:
    splits = members[0].logits
    return Model(kind, kind, {s: ensemble.mean([m.logits[s] for m in members]) for s in splits})


def _plane(results: pd.DataFrame, across: str) -> pd.DataFrame:
    """Test against the mean of the shifts, for DVC's scatter plot."""
    wide = results.pivot_table(
        index=["model", "kind"], columns="split", values="accuracy", sort=False
    )
    return wide[["test", across]].rename(columns={across: "shifts"}).reset_index()


def _csv(frame: pd.DataFrame) -> str:
    text: str = frame.to_csv(index=False, lineterminator="\n")
    return text


def _log(
    store: Store, results: pd.DataFrame, runs: Mapping[str, str], scored: bool = False
) -> None:
    for name, run_id in runs.items():
        metrics = named(results[results["model"] == name])
        if scored:  # it has a curve over training steps, of which this would be no part
            del metrics["heldout/accuracy"]
        store.log(run_id, 0, metrics)


def named(rows: pd.DataFrame) -> dict[str, float]:
    """A model's figures by MLflow's names: test/accuracy, shift/<name>/nll, shifts/accuracy."""
    metrics = {}
    for row in rows.to_dict("records"):
        split = row["split"]
        prefix = split if split in ("heldout", "test", REAL, "shifts") else f"shift/{split}"
        for figure in ("accuracy", "nll", "ece"):
            if not math.isnan(row[figure]):
                metrics[f"{prefix}/{figure}"] = row[figure]
    return metrics
