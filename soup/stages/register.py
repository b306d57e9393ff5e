"""register: the soup -> a version of a registered model, and the champion if it is better."""

import json
from collections.abc import Mapping
from typing import Any

from soup import tracking
from soup.champion import Scored, decide
from soup.heldout import errors_of
from soup.project import Project


def run(project: Project) -> dict[str, Any]:
    """Register the soup with its lineage; `champion` moves only to what is better on held-out.

    Raises:
        TrackingError: the registry refuses.
    """
    store = project.store()
    cooked = json.loads((project.out / "cook.json").read_text())
    metrics = json.loads((project.out / "metrics.json").read_text())
    soup = store.get([cooked["run_id"]])[0]
    inherited = ("base", "split", "sweep", "recipe", "ingredients", "digest", "commit")
    tags = {
        **project.lineage(),
        **{key: soup.tags[key] for key in inherited},
        "run": soup.run_id,
        "errors": str(cooked["errors"]),
        "examples": str(cooked["examples"]),
        "test_accuracy": str(metrics["test"]["soup"]),
    }
    version = tracking.register(
        store,
        project.params.registry.model,
        cooked["model_id"],
        soup.run_id,
        tags,
        _description(store, soup, cooked, metrics),
    )
    holder = tracking.champion(store, version.model)

    def rescore() -> int | None:
        assert holder is not None
        target = project.cache / "champions" / f"{holder.model}-{holder.number}"
        folder = tracking.fetch(store, holder, target)
        return errors_of(folder, project.development, project.images, project.cache / "images")

    decision = decide(
        Scored(version.number, cooked["errors"], tags["split"]),
        Scored(holder.number, int(holder.tags["errors"]), holder.tags["split"]) if holder else None,
        rescore,
    )
    if decision.promote:
        tracking.move(store, version, decision.reason)
    return {
        "model": version.model,
        "version": version.number,
        "run_id": soup.run_id,
        "promoted": decision.promote,
        "reason": decision.reason,
        "summary": f"{version.model} version {version.number}, "
        f"{'the new champion' if decision.promote else 'not champion'}: {decision.reason}",
    }


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

    ingredients = ", ".join(map(named, store.get(json.loads(soup.tags["ingredients"]))))
    rows = "\n".join(
        f"| {split} | {m['best_single']:.2%} | {m['soup']:.2%} | {100 * m['gain']:+.2f} |"
        for split, m in metrics.items()
    )
    return (
        f"A {cooked['recipe']} soup of {ingredients}, cooked by {named(soup)}.\n\n"
        f"| split | best single | soup | gain |\n|---|---|---|---|\n{rows}\n"
    )
