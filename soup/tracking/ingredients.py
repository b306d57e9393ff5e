"""The ranked runs of a sweep as ingredients, checked to share one base and one split."""

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
from soup.tracking.server_check import TrackingError
from soup.tracking.store import Store
from soup.tracking.tracked import Tracked
from soup.weights.checkpoint import Checkpoint
from soup.weights.shards import WEIGHTS_FILE

FILES = (WEIGHTS_FILE, PREDICTIONS_FILE)  # what an ingredient's run holds, by digest


@dataclass(frozen=True)
class Stored:
    """An ingredient, its run, and its held-out predictions.

    Attributes:
        ingredient: name, lazy weights, held-out errors.
        run: the MLflow run.
        folder: the files of the model.
    """

    ingredient: Ingredient
    run: Tracked
    folder: Path

    @property
    def logits(self) -> Logits:
        """Held-out logits, float16 or float32 (examples, classes)."""
        return prediction_file.read(self.folder / PREDICTIONS_FILE)

    @property
    def correct(self) -> Correct:
        """Whether each held-out example is classified correctly, (examples,)."""
        return prediction_file.read(self.folder / PREDICTIONS_FILE, "correct").astype(np.bool_)


def ingredients(store: Store, run_ids: Sequence[str], cache: Path) -> list[Stored]:
    """Fetch the ranked runs of a sweep, the best first.

    Args:
        store: the experiment.
        run_ids: the runs of the sweep.
        cache: folder for downloaded models.

    Raises:
        TrackingError: no run was scored, runs differ in base or split, or files were changed.
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
            odd = sorted(sharing.items(), key=lambda item: len(item[1]))
            groups = [f"{some(names, 4, last=' ')} ({value[:12]})" for value, names in odd]
            raise TrackingError(f"the runs do not share their {meaning}: {', '.join(groups)}")
    digests = {run.model_id: {name: run.tags[f"sha256.{name}"] for name in FILES} for run in ranked}
    try:
        model_folders = folders(store, digests, cache)
    except Damaged as error:
        damaged = [
            (run, error.models[run.model_id]) for run in ranked if run.model_id in error.models
        ]
        for run, reason in damaged:
            store.end(run.run_id, failed=reason)
        reasons = [f"{run.name}: {reason}" for run, reason in damaged]
        raise TrackingError(
            "\n".join(reasons) + "\ntheir runs are marked as failed: start again, and they alone "
            "are made anew"
        ) from None
    stored = []
    for run in ranked:
        folder = model_folders[run.model_id]
        weights = Checkpoint(folder / WEIGHTS_FILE)
        ingredient = Ingredient(run.name, weights, run.cost)
        stored.append(Stored(ingredient, run, folder))
    return stored
