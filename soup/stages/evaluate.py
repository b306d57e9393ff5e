"""evaluate: every model on held-out, test and the shifts; the first stage that sees these two."""

import json
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from soup import ensemble
from soup.checkpoint import Checkpoint
from soup.data.images import Images, decoded
from soup.data.split import read_csv
from soup.data.transforms import evaluation
from soup.evaluate import predict
from soup.files import write_json, write_text
from soup.kitchen import Kitchen
from soup.metrics import Logits
from soup.models import load_weights
from soup.project import Project
from soup.results import Model, headline, paired, table
from soup.tracking import Store, Stored, ingredients
from soup.weights import Weights

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
    kitchen = Kitchen(project, store)
    sets = _sets(project, kitchen)
    labels = {split: images.labels for split, images in sets.items()}

    def answers(weights: Weights) -> dict[str, Logits]:
        load_weights(kitchen.model, weights, kitchen.architecture.model)
        size = params.compute.eval_batch_size
        found = {}
        for split, images in sets.items():
            found[split] = predict(kitchen.model, images, kitchen.architecture, size)
            advance(len(images))
        return found

    everyone = ingredients(store, [*sweep["runs"].values()], project.cache / "models")
    each = sum(map(len, sets.values()))
    with project.track("evaluating", each * (len(everyone) + len(RECIPES))) as advance:
        singles = {stored.ingredient.name: _single(stored, answers) for stored in everyone}
        soups = {
            recipe: Model(
                f"{recipe} soup", recipe, answers(_soup(recipe, project, kitchen, cooked))
            )
            for recipe in RECIPES
        }
    members = [singles[stored.ingredient.name] for stored in kitchen.pantry]
    best = Model("best single", "best single", members[0].logits)
    chosen = soups[cooked["recipe"]]
    order = ensemble.greedy([m.logits["heldout"] for m in members], labels["heldout"])
    ensembles = [
        _ensemble("ensemble", members),
        _ensemble("greedy ensemble", [members[index] for index in order]),
    ]
    shifts = [*params.data.shifts]
    everything = [*singles.values(), best, *soups.values(), *ensembles]
    results = table(everything, labels, shifts, params.evaluate)
    tests = paired(chosen, best, labels, shifts, params.evaluate)
    metrics = headline(results, tests, cooked["recipe"])
    write_text(out / "results.csv", _csv(results))
    write_text(out / "tests.csv", _csv(tests))
    write_text(out / "plane.csv", _csv(_plane(results, "shifts" if shifts else "heldout")))
    write_json(out / "metrics.json", metrics)

    runs = {name: stored.run.run_id for name, stored in zip(singles, everyone, strict=True)}
    runs[chosen.name] = cooked["run_id"]
    _log(store, results, runs, scored=True)
    tags = project.lineage() | kitchen.shared
    for model in [*soups.values(), *ensembles]:
        if model is not chosen:
            kind = "ensemble" if model in ensembles else "soup"
            own = f"{digest}-{model.name.replace(' ', '-')}"
            runs[model.name] = store.start(kind, own, model.name, tags)
            _log(store, results, {model.name: runs[model.name]})
            store.end(runs[model.name])
    told = [s for s in ("test", "shifts") if s in metrics]
    gains = [f"{s} {metrics[s]['soup']:.2%} ({100 * metrics[s]['gain']:+.2f})" for s in told]
    return {"runs": runs, "summary": ", ".join(gains)}


def _sets(project: Project, kitchen: Kitchen) -> dict[str, Images]:
    architecture, data = kitchen.architecture, project.params.data
    rows = read_csv(project.evaluation)
    resize, how = evaluation(architecture)
    sets = {"heldout": kitchen.heldout}
    for split in ("test", *data.shifts):
        own = [row for row in rows if row.split == split]
        cache = project.cache / "images"
        sets[split] = decoded(
            own, project.images, architecture.classes, resize, how, cache, project.track
        )
    return sets


def _single(stored: Stored, answers: Any) -> Model:
    name = stored.ingredient.name
    kind = "initialisation" if name == "probe" else "ingredient"
    return Model(name, kind, answers(stored.ingredient.weights))


def _soup(recipe: Any, project: Project, kitchen: Kitchen, cooked: Mapping[str, Any]) -> Weights:
    """The soup that was cooked, or, to compare with, one by the other recipe."""
    if recipe == cooked["recipe"]:
        return Checkpoint(project.out / "soup" / "model.safetensors")
    return kitchen.cook(recipe, project.params.soup.tie).soup.weights


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
    """Figures under MLflow's names: test/accuracy, shift/<name>/accuracy, shifts/accuracy."""
    for name, run_id in runs.items():
        metrics = {}
        for row in results[results["model"] == name].to_dict("records"):
            split = row["split"]
            prefix = split if split in ("heldout", "test", "shifts") else f"shift/{split}"
            for figure in ("accuracy", "nll", "ece"):
                if not math.isnan(row[figure]):
                    metrics[f"{prefix}/{figure}"] = row[figure]
        if scored:  # it has a curve over training steps, of which this would be no part
            del metrics["heldout/accuracy"]
        store.log(run_id, 0, metrics)
