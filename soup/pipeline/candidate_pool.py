"""The ingredients of a sweep, judged on held-out images: what any recipe is cooked from."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from soup.evaluation.evaluator import Evaluator
from soup.evaluation.metrics import Logits
from soup.models import DESCRIPTION_FILE, Architecture, build
from soup.models.batchnorm import BATCH, Recalibration, layers_that_differ
from soup.pipeline.heldout import heldout_of, training_of
from soup.pipeline.project import Project
from soup.pipeline.stage_record import read_record
from soup.recipes.greedy import greedy
from soup.recipes.ingredient import Soup
from soup.recipes.uniform import uniform
from soup.tracking import Store, ingredients


@dataclass(frozen=True)
class SoupResult:
    """A soup, its held-out logits, and its trace as a table.

    Columns of the trace: step, name, heldout_errors (NaN where judging stopped early),
    heldout_accuracy, at_most, kept, examples_seen (images judged), heldout_n.

    Attributes:
        heldout: float (examples, classes), from the judge's pass over the soup; of a soup of one
            ingredient, which no judge looked at, the ingredient's own.
        recalibration: what recomputed the candidates' BatchNorm statistics; None if nothing did.
    """

    soup: Soup
    trace: pd.DataFrame
    heldout: Logits
    recalibration: Recalibration | None


class CandidatePool:
    """Cooks any recipe from the same ingredients, judged on the same held-out images.

    Attributes:
        everyone: the runs of the sweep that were asked for, ranked.
        ranked: those of them that the soup may be made of, at least one.
        architecture: of all of them.
        heldout: the examples that soups are judged on.
        model: one to load weights into.
    """

    def __init__(self, project: Project, store: Store, probe_too: bool = False) -> None:
        """Pull the sweep's runs, and check that their files are what was stored.

        Args:
            probe_too: pull the linear probe also where the soup may not be made of it.

        Raises:
            TrackingError: none was scored, they do not belong together, or weights were changed.
        """
        runs = read_record(project.out / "finetune.json", runs=dict)["runs"]
        in_soup = [n for n in runs if n != "probe" or project.params.soup.include_probe]
        wanted = [*runs] if probe_too else in_soup
        self.everyone = ingredients(store, [runs[n] for n in wanted], project.cache / "models")
        self.ranked = [stored for stored in self.everyone if stored.ingredient.name in in_soup]
        self.architecture = Architecture.load(self.ranked[0].folder / DESCRIPTION_FILE)
        self.heldout = heldout_of(project, self.architecture)
        self.model = build(self.architecture).to(project.device())
        self._batch_size = project.params.compute.eval_batch_size
        self._project = project

    @property
    def shared(self) -> dict[str, str]:
        """The tags that all ingredients share: base, split, sweep."""
        return {key: self.ranked[0].run.tags[key] for key in ("base", "split", "sweep")}

    def cook(
        self, recipe: Literal["uniform", "greedy"], tie: Literal["keep", "reject"] = "keep"
    ) -> SoupResult:
        """Cook; the judge visits first what most ingredients got wrong."""
        ingredients = [stored.ingredient for stored in self.ranked]
        correct = [stored.correct for stored in self.ranked]
        recalibration = self._recalibration()
        evaluator = Evaluator(
            self.heldout,
            self.architecture,
            (self.model,),
            self._batch_size,
            recalibration=recalibration,
        )
        (judge,) = evaluator.judges(correct)
        soup = (
            uniform(ingredients, judge) if recipe == "uniform" else greedy(ingredients, judge, tie)
        )
        # The judge stops early at every candidate but those that the soup keeps, so that the last
        # one it saw all images of is the soup.
        heldout = judge.logits
        if heldout is None:
            heldout = next(s for s in self.ranked if s.ingredient.name == soup.kept[0]).logits
        n = len(self.heldout)
        # The first of a greedy trace is not judged, nor are a uniform soup's one by one.
        examples_seen = [0, *judge.examples_seen] if recipe == "greedy" else [0] * len(soup.trace)
        trace = pd.DataFrame(
            {
                "step": step,
                "name": trial.name,
                "heldout_errors": trial.errors,
                "heldout_accuracy": None if trial.errors is None else 1 - trial.errors / n,
                "at_most": trial.at_most,
                "kept": trial.kept,
                "examples_seen": images,
                "heldout_n": n,
            }
            for step, (trial, images) in enumerate(zip(soup.trace, examples_seen, strict=True))
        )
        numbers = ["heldout_errors", "heldout_accuracy", "at_most"]
        trace[numbers] = trace[numbers].astype(float)
        return SoupResult(soup, trace, heldout, recalibration)

    def _recalibration(self) -> Recalibration | None:
        """What recomputes BatchNorm statistics on training images; None where they do not differ.

        Raises:
            ModelError: fewer training images than two are asked for or there.
        """
        most = self._project.params.soup.recalibrate
        weights = [stored.ingredient.weights for stored in self.ranked]
        layers = layers_that_differ(self.model, weights) if most else []
        if not layers:
            return None
        images = training_of(self._project, self.architecture, most)
        inputs = images.compact(np.arange(len(images)))
        return Recalibration(inputs, images.prepare, min(self._batch_size, BATCH), layers)
