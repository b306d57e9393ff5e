"""The ranked runs of a sweep as ingredients, checked to belong together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from soup.errors import some
from soup.evaluation import prediction_file
from soup.evaluation.heldout import PREDICTIONS_FILE
from soup.evaluation.metrics import Correct, Logits
from soup.recipes.ingredient import Ingredient
from soup.tracking.model_files import Damaged, folders
from soup.tracking.store import Store, Tracked, TrackingError
from soup.weights.checkpoint import Checkpoint
from soup.weights.shards import WEIGHTS_FILE

FILES = (WEIGHTS_FILE, PREDICTIONS_FILE)  # what an ingredient's run holds, by digest


@dataclass(frozen=True)
class Stored:
    """An ingredient, the run that it came from, and what it answered on the held-out set.

    Attributes:
        ingredient: name, lazy weights, held-out errors.
        run: MLflow's.
        folder: its files.
    """

    ingredient: Ingredient
    run: Tracked
    folder: Path

    @property
    def logits(self) -> Logits:
        """On the held-out set, float16 (examples, classes)."""
        return prediction_file.read(self.folder / PREDICTIONS_FILE)

    @property
    def correct(self) -> Correct:
        """Which held-out examples it got right."""
        return prediction_file.read(self.folder / PREDICTIONS_FILE, "correct").astype(np.bool_)


def ingredients(store: Store, run_ids: Sequence[str], cache: Path) -> list[Stored]:
    """Pull the ranked runs of a sweep.

    Raises:
        TrackingError: none was scored, they differ in base or split, or weights were changed.
    """
    ranked = store.ranked(run_ids)
    if not ranked:
        raise TrackingError(
            f"none of the {len(run_ids)} runs has a held-out score: nothing to cook"
        )
    for key, meaning in (("base", "initialisation"), ("split", "held-out split")):
        sharing: dict[str, list[str]] = {}
        for run in ranked:
            sharing.setdefault(run.tags.get(key, "unknown"), []).append(run.name)
        if len(sharing) > 1:
            odd = sorted(sharing.items(), key=lambda one: len(one[1]))
            told = [f"{some(names, 4, last=' ')} ({value[:12]})" for value, names in odd]
            raise TrackingError(f"the runs do not share their {meaning}: {', '.join(told)}")
    digests = {run.model_id: {name: run.tags[f"sha256.{name}"] for name in FILES} for run in ranked}
    try:
        where = folders(store, digests, cache)
    except Damaged as error:
        damaged = [
            (run, error.models[run.model_id]) for run in ranked if run.model_id in error.models
        ]
        for run, reason in damaged:
            store.end(run.run_id, failed=reason)
        told = [f"{run.name}: {reason}" for run, reason in damaged]
        raise TrackingError(
            "\n".join(told) + "\ntheir runs are marked as failed: start again, and they alone "
            "are made anew"
        ) from None
    found = []
    for run in ranked:
        folder = where[run.model_id]
        weights = Checkpoint(folder / WEIGHTS_FILE)
        ingredient = Ingredient(run.name, weights, run.metrics["heldout/errors"])
        found.append(Stored(ingredient, run, folder))
    return found
