"""soup explain: why the soup does not help."""

import math
from collections.abc import Sequence
from pathlib import Path

from soup.cli.checkpoints import open_base, open_pool, require_alike
from soup.cli.heldout_folder import open_evaluator
from soup.cli.terminal import console, print_json, progress, warn
from soup.evaluation.diagnosis.explain import explain as explained
from soup.evaluation.metrics import Correct, correct
from soup.recipes.ingredient import Ingredient
from soup.weights import Weights


def explain(
    models: Sequence[str],
    base: str | None,
    model: str | None,
    heldout: Path | None,
    devices: Sequence[str],
    as_json: bool,
) -> None:
    """Findings with their evidence and what to do, the strongest first."""
    with progress("reading", len(models)) as advance:
        pool = open_pool(models, advance)
    require_alike(pool)
    origin = None if base is None else open_base(base, pool)
    metadata = {name: dict(each.metadata) for name, each in pool.checkpoints.items()}
    if origin is not None:
        metadata["the base"] = {"base": origin.digest()}
    answers = None
    if heldout is None:
        warn("without --heldout FOLDER only the weights speak: barriers and noise stay unknown")
    else:
        exam = open_evaluator(heldout, model, next(iter(pool.checkpoints.values())), devices)

        def answers(weights: Weights) -> Correct:
            advance()
            return correct(exam.logits(weights), exam.examples.labels)

    ingredients = [Ingredient(name, each, math.nan) for name, each in pool.checkpoints.items()]
    with progress("looking", None) as advance:
        found = explained(ingredients, origin, correct=answers, metadata=metadata)
    if as_json:
        print_json([finding._asdict() for finding in found])
        return
    for place, finding in enumerate(found, start=1):
        console.print(f"[bold]{place}. {finding.kind}[/]  {finding.summary}", soft_wrap=True)
        if finding.remedy:
            console.print(f"   [dim]→ {finding.remedy}[/]", soft_wrap=True)
