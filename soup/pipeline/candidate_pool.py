"""The ingredients of a sweep, judged on held-out examples: what any recipe is cooked from."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
import torch

from soup.evaluation.evaluator import Evaluator
from soup.evaluation.judges import ErrorJudge, ScoreJudge
from soup.evaluation.metrics import Logits
from soup.models import DESCRIPTION_FILE, Architecture, build
from soup.models.batchnorm import BATCH, Recalibration, layers_that_differ
from soup.pipeline.heldout import heldout_of, training_of
from soup.pipeline.project import Project
from soup.pipeline.stage_record import read_record
from soup.pipeline.task_score import score_of
from soup.recipes.greedy import greedy
from soup.recipes.ingredient import Soup
from soup.recipes.uniform import uniform
from soup.tracking import Store, Stored, ingredients


@dataclass(frozen=True)
class SoupResult:
    """A soup, its held-out logits, and its trace as a table.

    Columns of the trace: step, name, heldout_errors (NaN where judging stopped early),
    heldout_accuracy, at_most, kept, examples_seen (those judged), heldout_n. With a score other
    than accuracy, `heldout_accuracy` is the score, and errors are (1 - score) * heldout_n.

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
        ranked = [stored for stored in self.everyone if stored.ingredient.name in in_soup]
        self.architecture = Architecture.load(ranked[0].folder / DESCRIPTION_FILE)
        self.heldout = heldout_of(project, self.architecture)
        self.score_name, self.score = score_of(project.params, self.architecture.classes)
        self.ranked = [self._scored(stored) for stored in ranked]
        self.ranked.sort(key=lambda stored: stored.ingredient.errors)  # stable: a NaN cannot be
        self.model = build(self.architecture).to(project.device())
        self._batch_size = project.params.compute.eval_batch_size
        self._project = project

    def _scored(self, stored: Stored) -> Stored:
        """An ingredient with its cost by the score, which is 1 less the score."""
        if self.score is None:
            return stored
        logits = torch.from_numpy(stored.logits.astype(np.float32))
        cost = self.score(logits, torch.from_numpy(self.heldout.labels))
        # A score that is not defined is no better than any other.
        cost = math.inf if math.isnan(cost) else cost
        return replace(stored, ingredient=replace(stored.ingredient, errors=cost))

    def score_from(self, errors: float) -> float:
        """The score of a model, from the cost that a judge gives it."""
        return 1 - errors / len(self.heldout) if self.score is None else 1 - errors

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
        recalibration = self.recalibration()
        evaluator = Evaluator(
            self.heldout,
            self.architecture,
            (self.model,),
            self._batch_size,
            recalibration=recalibration,
        )
        judge: ErrorJudge | ScoreJudge
        if self.score is None:
            (judge,) = evaluator.judges(correct)
        else:
            (judge,) = evaluator.score_judges(self.score, correct)
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
        each = 1 if self.score is None else n  # the cost of one example
        trace = pd.DataFrame(
            {
                "step": step,
                "name": trial.name,
                "heldout_errors": None if trial.errors is None else trial.errors * each,
                "heldout_accuracy": None if trial.errors is None else self.score_from(trial.errors),
                "at_most": None if trial.at_most is None else trial.at_most * each,
                "kept": trial.kept,
                "examples_seen": images,
                "heldout_n": n,
            }
            for step, (trial, images) in enumerate(zip(soup.trace, examples_seen, strict=True))
        )
        numbers = ["heldout_errors", "heldout_accuracy", "at_most"]
        trace[numbers] = trace[numbers].astype(float)
        return SoupResult(soup, trace, heldout, recalibration)

    def recalibration(self) -> Recalibration | None:
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
