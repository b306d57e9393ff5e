"""The runs of a sweep's ingredients in MLflow: begun, scored, kept and ranked."""

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from soup.evaluation.heldout import PREDICTIONS_FILE, Result
from soup.files import of_file, of_value
from soup.pipeline.sweep.heldout_score import BY_ACCURACY, HeldoutScore
from soup.pipeline.sweep.part import Part
from soup.tracking import DataSet, Store, ingredients
from soup.train.finetune import FINAL_WEIGHTS

log = logging.getLogger("modelsoup")


@dataclass(frozen=True)
class IngredientRuns:
    """The runs below the run of a sweep.

    Attributes:
        store: the experiment.
        sweep: id of the sweep's run.
        tags: of every ingredient.
        score: that ingredients are ranked by.
        data_sets: that the sweep uses; scores are of the held-out one.
    """

    store: Store
    sweep: str
    tags: Mapping[str, str]
    score: HeldoutScore = BY_ACCURACY
    data_sets: tuple[DataSet, ...] = ()

    def begin(self, part: Part, average: str = FINAL_WEIGHTS) -> str:
        """The run of an ingredient: a new one, or the one that was interrupted; its id."""
        digest, name = part.digest_of(average), part.names[average]
        params = dict(part.params) | ({"average": average} if average else {})
        tags = {**self.tags, **part.tags}
        run_id = self.store.start(
            "ingredient", digest, name, tags, params, self.sweep, self.data_sets
        )
        log.info("run opened", extra={"fine_tune": name, "run": run_id})
        return run_id

    def keep(
        self, run_id: str, name: str, result: Result, tags: Mapping[str, str], step: int
    ) -> None:
        """Store weights, answers and score of an ingredient in its run, and end the run."""
        digests = {f"sha256.{f.name}": of_file(f) for f in (result.weights, result.predictions)}
        self.store.tag(run_id, digests)
        told = {**self.tags, **tags, **digests}
        model_id = self.store.log_weights(run_id, name, result.weights.parent, told, step)
        self.store.log(run_id, step, self.score.metrics(result), model_id, self.data_sets)
        self.store.end(run_id)

    def keep_average(self, part: Part, average: str, result: Result) -> str:
        """Store an average of a fine-tune's weights, an ingredient with a run of its own."""
        stored = self.store.find(part.digest_of(average))
        if stored is not None:  # before what was interrupted
            return stored.run_id
        run_id = self.begin(part, average)
        self.keep(run_id, part.names[average], result, part.tags, part.steps)
        return run_id

    def keep_probe(self, probe: Result) -> str:
        """The linear probe as an ingredient of a sweep, as in the paper; its run id."""
        digest = of_value({"probe": self.tags["base"], "sweep": self.tags["sweep"]})
        known = self.store.find(digest)
        if known is not None:
            return known.run_id
        run_id = self.store.start(
            "ingredient", digest, "probe", self.tags, parent=self.sweep, data_sets=self.data_sets
        )
        self.keep(run_id, "probe", probe, {}, 0)
        return run_id

    def finish(
        self,
        probe: Result,
        outcomes: Iterable[Mapping[str, str] | BaseException],
        cache: Path,
    ) -> tuple[dict[str, str], str]:
        """End the sweep: the run ids of its ingredients by name, and which of them is the best.

        Args:
            outcomes: the run ids, by name, of what each part of it made; or what it raised.
            cache: folder for downloaded models.
        """
        runs = {"probe": self.keep_probe(probe)}
        for outcome in outcomes:
            if not isinstance(outcome, BaseException):
                # A grid may hold one configuration twice; it is one ingredient.
                runs |= {name: run for name, run in outcome.items() if run not in runs.values()}
        store, score = self.store, self.score
        store.end(self.sweep)
        if score.score is None:
            best, errors = store.ranking(runs)[0]
            return runs, f"best {best} {score.text(1 - errors / probe.examples)} held-out"
        ranked = store.ranking(runs, score.metric)
        if len(ranked) < len(runs):
            self._score_again([*runs.values()], cache)
            ranked = store.ranking(runs, score.metric)
        if not ranked:  # a score that is not defined on this held-out set
            return runs, f"held-out {score.text(math.nan)}"
        best, value = ranked[-1]
        return runs, f"best {best} {score.text(value)} held-out"

    def _score_again(self, run_ids: list[str], cache: Path) -> None:
        """Log the score of ingredients that were finished when another score was asked for."""
        for stored in ingredients(self.store, run_ids, cache):
            if self.score.metric not in stored.run.metrics:
                value = self.score.of_file(stored.folder / PREDICTIONS_FILE)
                run = stored.run
                metrics = {self.score.metric: value}
                self.store.log(run.run_id, 0, metrics, run.model_id, self.data_sets)
