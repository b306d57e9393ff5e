"""The ingredients of a sweep, judged on held-out examples: what any recipe is cooked from."""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from soup.config.recipe import Recipe
from soup.config.recipe_signatures import signature
from soup.evaluation.averaged_logits import AveragedLogits
from soup.evaluation.counted_objective import CountedObjective
from soup.evaluation.evaluator import Evaluator
from soup.evaluation.judges import ErrorJudge, ScoreJudge
from soup.evaluation.metrics import Logits, Margins, margins, well_predicted
from soup.evaluation.metrics import correct as correct_of
from soup.files import of_code, of_file, of_value
from soup.models import DESCRIPTION_FILE, Architecture, build
from soup.models.batchnorm import BATCH, Recalibration, layers_that_differ
from soup.pipeline.cooking.cost import Meter
from soup.pipeline.cooking.fishers import fishers
from soup.pipeline.cooking.kept_soups import KeptSoups
from soup.pipeline.cooking.result import SoupResult, WatchedJudge, better, trace_table
from soup.pipeline.cooking.supplies import PROBE, call, starts_from_base
from soup.pipeline.heldout import heldout_of, training_of
from soup.pipeline.project import Project
from soup.pipeline.stage_record import read_record
from soup.pipeline.task_score import score_of
from soup.recipes.ingredient import Soup
from soup.tracking import WEIGHTS_DIGEST, Store, Stored, TrackingError, ingredients
from soup.weights import Weights, materialize
from soup.weights.checkpoint import Checkpoint
from soup.weights.shards import WEIGHTS_FILE


class CandidatePool:
    """Cooks any recipe from the same ingredients, judged on the same held-out images.

    Attributes:
        everyone: the runs of the sweep that were asked for, ranked.
        ranked: those of them that the soup may be made of, at least one.
        architecture: of all of them.
        heldout: the examples that soups are judged on.
        model: one to load weights into.
        batch_size: examples in each forward pass.
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
        self.batch_size = project.params.compute.eval_batch_size
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

    def cook(self, recipe: Recipe) -> SoupResult:
        """The soup of a recipe: that of an earlier call with the same inputs and code, or made now.

        Raises:
            Unusable: the recipe cannot be cooked from these ingredients; the message says why.
        """
        options = self._project.params.soup
        recipe = options.with_tie(recipe)
        if options.batchnorm != "best" or not self._batchnorm:
            return self._found_or_made(recipe, options.recalibrated_on)
        averaged = self._found_or_made(recipe, 0)
        recomputed = self._found_or_made(recipe, options.recalibrate)
        scores = map(self.score_from, (averaged.errors, recomputed.errors))
        return better(averaged, recomputed, *scores)

    def _found_or_made(self, recipe: Recipe, images: int) -> SoupResult:
        """The soup whose BatchNorm statistics are recomputed on so many images; 0 averages them."""
        images = images if self._batchnorm else 0
        kept = KeptSoups(self._project.cache / "soups", self._project.params.compute.cache_gib)
        digest = self._digest(recipe, images)
        found = kept.find(digest)
        if found is not None:
            return found
        with tempfile.TemporaryDirectory(prefix=".cook-", dir=self._project.cache) as scratch:
            return kept.keep(digest, self._cook(recipe, images, Path(scratch)))

    def _cook(self, recipe: Recipe, images: int, scratch: Path) -> SoupResult:
        """Cook; the judge visits first what most ingredients got wrong."""
        ranked = self._candidates(recipe)
        # Only greedy judges each candidate once.
        total = (len(ranked) - 1) * len(self.heldout) if recipe.name == "greedy" else None
        with self._project.track(f"{recipe.label} soup", total) as advance:
            return self._cooked(recipe, ranked, images, scratch, advance)

    def _cooked(
        self,
        recipe: Recipe,
        ranked: Sequence[Stored],
        images: int,
        scratch: Path,
        advance: Callable[[int], object],
    ) -> SoupResult:
        ingredients = [stored.ingredient for stored in ranked]
        recalibration = self.recalibration(images)
        evaluator = Evaluator(
            self.heldout,
            self.architecture,
            (self.model,),
            self.batch_size,
            recalibration=recalibration,
            advance=advance,
        )
        correct = [
            well_predicted(stored.logits, self.heldout.labels)
            if self.architecture.predicts_numbers
            else stored.correct
            for stored in ranked
        ]
        known: dict[str, Margins] = {}
        if "judge" in signature(recipe.name).needs and not self.architecture.predicts_numbers:
            labels = self.heldout.labels
            known = {s.ingredient.name: margins(s.logits, labels) for s in ranked}
        judges: Sequence[ErrorJudge | ScoreJudge] = (
            evaluator.judges(correct, margins=known)
            if self.score is None
            else evaluator.score_judges(self.score, correct, known)
        )
        n = len(self.heldout)
        meter = Meter(n)
        judge = WatchedJudge(judges[0], meter.count)

        def trained(examples: int) -> None:
            meter.count(examples)
            advance(examples)

        supplies: dict[str, Callable[[], Any]] = {
            "judge": lambda: judge,
            "base": self._base,
            "objective": lambda: CountedObjective(evaluator.objective(), n, trained),
            "fishers": lambda: fishers(evaluator, ingredients, scratch, meter.count),
            "predictions": lambda: AveragedLogits(
                {stored.ingredient.name: stored.logits for stored in ranked},
                self.heldout.labels,
                self.score or _error_count,
            ),
        }
        with meter:
            soup = call(recipe, ingredients, supplies)
            weights = materialize(soup.weights)
            unwatched = replace(evaluator, advance=lambda _: None)
            heldout, errors = self._judged(soup, weights, judge, ranked, unwatched)
        if recalibration is not None:
            meter.count(recalibration.models * len(recalibration.inputs))
        told = "" if recalibration is None else str(recalibration)
        each = 1 if self.score is None else n  # the cost of one example
        return SoupResult(
            weights=weights,
            kept=soup.kept,
            errors=errors,
            trace=trace_table(soup.trace, judge.calls, n, each, self.score_from),
            heldout=heldout,
            shares=soup.shares,
            batchnorm=told,
            recalibrated_on=0 if recalibration is None else len(recalibration.inputs),
            cost=meter.cost,
        )

    def _candidates(self, recipe: Recipe) -> list[Stored]:
        """What the soup may be made of: not the base, where the recipe starts from that."""
        if not starts_from_base(recipe):
            return self.ranked
        return [stored for stored in self.ranked if stored.ingredient.name != PROBE]

    def _judged(
        self,
        soup: Soup,
        weights: Weights,
        judge: WatchedJudge,
        ranked: Sequence[Stored],
        evaluator: Evaluator,
    ) -> tuple[Logits, float]:
        """Held-out logits and errors of a soup, from the judge's pass over it if there was one."""
        # The judge stops early at every candidate but those that become the soup, so that the last
        # one it saw all images of is the soup.
        if judge.last is not None and judge.last[0] == soup.errors:
            return judge.last[1], soup.errors
        if judge.last is None and soup.errors is not None and len(soup.kept) == 1:
            alone = next(s for s in ranked if s.ingredient.name == soup.kept[0])
            return alone.logits, soup.errors
        logits = evaluator.logits(weights)
        labels = torch.from_numpy(self.heldout.labels)
        if self.score is None:
            return logits, int((~correct_of(logits, self.heldout.labels)).sum())
        return logits, self.score(torch.from_numpy(logits), labels)

    def _base(self) -> Weights:
        """What all fine-tunes started from: the probe; of imported models, the base model.

        Raises:
            TrackingError: it is not what it was when the sweep was run.
        """
        imported = self._project.params.sweep.imported is not None
        file = self._project.out / ("base" if imported else "probe") / WEIGHTS_FILE
        if not imported and of_file(file) != self.shared["base"]:
            raise TrackingError(
                f"{file} is not what the fine-tunes started from: run the sweep again"
            )
        return Checkpoint(file)

    def _digest(self, recipe: Recipe, images: int) -> str:
        """Of all that decides a soup."""
        project = self._project
        made_by = of_code("soup.recipes", "soup.weights", "soup.models", "soup.evaluation")
        imported = project.params.sweep.imported is not None
        return of_value(
            {
                "recipe": [recipe.name, recipe.options],
                "ingredients": [
                    [stored.ingredient.name, stored.run.tags[WEIGHTS_DIGEST]]
                    for stored in self._candidates(recipe)
                ],
                "heldout": [self.shared["split"], self.heldout.digest, self.score_name],
                "base": of_file(project.out / "base" / WEIGHTS_FILE) if imported else "",
                "batchnorm": images,
                "model": self.architecture.text(),
                "how": [self.batch_size, project.device(), made_by],
            }
        )

    @cached_property
    def _batchnorm(self) -> list[str]:
        """The BatchNorm layers whose statistics differ between the ingredients."""
        return layers_that_differ(self.model, [s.ingredient.weights for s in self.ranked])

    def recalibration(self, most: int | None = None) -> Recalibration | None:
        """What recomputes BatchNorm statistics on training images; None where they do not differ.

        Args:
            most: training images; 0 for none. Default: what the parameters say.

        Raises:
            ModelError: fewer training images than two are asked for or there.
        """
        most = self._project.params.soup.recalibrated_on if most is None else most
        if not most or not self._batchnorm:
            return None
        images = training_of(self._project, self.architecture, most)
        inputs = images.compact(np.arange(len(images)))
        size = min(self.batch_size, BATCH)
        return Recalibration(inputs, images.prepare, size, self._batchnorm)


def _error_count(logits: Tensor, labels: Tensor) -> int:
    return int((~correct_of(logits.numpy(), labels.numpy())).sum())
