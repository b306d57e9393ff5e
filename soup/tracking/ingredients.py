"""The ranked runs of a sweep as ingredients, checked to belong together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from soup import predictions
from soup.checkpoint import Checkpoint
from soup.ingredient import Ingredient
from soup.metrics import Correct, Logits
from soup.tracking.reach import Damaged, TrackingError
from soup.tracking.store import Store, Tracked

FILES = ("model.safetensors", "heldout.npz")  # what an ingredient's run holds, by digest


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
        return predictions.read(self.folder / "heldout.npz")

    @property
    def correct(self) -> Correct:
        """Which held-out examples it got right."""
        return predictions.read(self.folder / "heldout.npz", "correct").astype(np.bool_)


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
        values = {run.tags.get(key, "") for run in ranked}
        if len(values) > 1:
            odd = [f"{run.name} ({run.tags.get(key, 'unknown')[:12]})" for run in ranked]
            raise TrackingError(f"the runs do not share their {meaning}: {', '.join(odd)}")
    found, damaged = [], []
    for run in ranked:
        digests = {name: run.tags[f"sha256.{name}"] for name in FILES}
        try:
            folder = store.folder(run.model_id, cache, digests)
        except Damaged as error:
            store.end(run.run_id, failed=str(error))
            damaged.append(f"{run.name}: {error}")
            continue
        weights = Checkpoint(folder / "model.safetensors")
        ingredient = Ingredient(run.name, weights, run.metrics["heldout/errors"])
        found.append(Stored(ingredient, run, folder))
    if damaged:
        raise TrackingError(
            "\n".join(damaged) + "\ntheir runs are marked as failed: start again, and they alone "
            "are made anew"
        )
    return found
