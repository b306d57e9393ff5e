"""What a study works on: the models of a sweep, labelled examples, and answers that are kept.

A study asks for points (`soup.studies.point`): models of the sweep and linear combinations of them.
An answer is computed once. It is kept under the digest of the models' weights, the coefficients,
the examples and the code, so that an interrupted study goes on, and another study uses it. No more
than the weights of one model are in memory.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soup.data.progress import Track, no_progress
from soup.evaluation.examples import Examples
from soup.evaluation.metrics import Correct, Logits, Score, score
from soup.evaluation.prediction_cache import Find, digest_of_logits
from soup.evaluation.prediction_file import overflowed, to_float16_keeping_argmax
from soup.evaluation.result_tables import Resampling
from soup.evaluation.targets import Targets, columns_of
from soup.files import of_value
from soup.models import Architecture
from soup.studies.greedy import greedy
from soup.studies.kept import Kept, number, packed, unpacked
from soup.studies.model import Model, Teach, cannot_teach
from soup.studies.point import Point, mean, only
from soup.studies.subset import rows_of, subsets
from soup.weights import Weights, combine

# Bytes of float16 logits of a combination that are kept; of larger ones, only the score is.
LARGEST = 8 * 2**20
SHIFTS = "shifts"  # the mean of all shifts
TRAIN = "train"
RESAMPLING = Resampling(1000, 0.95, 0)


class Bench:
    """The models and examples of a sweep.

    Attributes:
        models: by name: the fine-tunes, and the initialisation if there is one.
        base: name of the initialisation.
        ranked: names of the fine-tunes, the best on held-out first.
        candidates: names of the models that soups may be made of, the best first.
        sets: split -> its examples: train, heldout, test and each shift.
        shifts: names of the shifts.
        resampling: how intervals are drawn.
        track: shows the progress of a piece of work.
        name, others: of the experiment; benches of other finished projects that were asked for.
    """

    def __init__(
        self,
        *,
        models: Mapping[str, Model],
        base: str | None,
        ranked: Sequence[str],
        candidates: Sequence[str],
        sets: Mapping[str, Examples],
        targets: Mapping[str, Targets],
        shifts: Sequence[str],
        architecture: Architecture,
        predict: Callable[[Weights, Examples, bool], Logits],
        kept: Kept,
        soups: Mapping[str, Point] | None = None,
        images: int | None = None,
        find: Find = lambda _split, _digest: None,
        how: str = "",
        averaged: str = "",
        resampling: Resampling = RESAMPLING,
        track: Track = no_progress,
        teach: Teach | None = None,
    ) -> None:
        """
        Args:
            targets: split -> the right answers.
            soups: name of a recipe -> the soup, where it was cooked.
            predict: weights, examples, whether the weights are of a combination (whose BatchNorm
                statistics may have to be recomputed) -> logits. All passes are made by it.
            kept: stores answers.
            images: most examples of each split that are used; None for all.
            find: split, digest -> logits of a model that the pipeline keeps, or None.
            how: any setting that changes all logits, as in `PredictionCache`.
            averaged: any setting that changes the logits of combinations.
            teach: trains a model on the probabilities of others, and keeps it.
        """
        self.models, self.base, self.ranked = dict(models), base, tuple(ranked)
        self.shifts, self.resampling, self.track = tuple(shifts), resampling, track
        self.candidates, self._soups = tuple(candidates), dict(soups or {})
        self.name, self.others = "this sweep", dict[str, Bench]()
        self._all, self.kept, self.teach = sets, kept, teach or cannot_teach
        self._rows = {} if images is None else rows_of(sets, images)
        self.sets, self.targets = subsets(sets, targets, self._rows)
        self._predict, self._find = predict, find
        self.architecture, self._how, self._averaged = architecture, how, averaged
        self._loaded: tuple[Point, Weights] | None = None
        self._recent = lru_cache(maxsize=6)(self._answers)
        self._digests: dict[str, str] = {}

    @contextmanager
    def counted(self, what: str, steps: int) -> Iterator[Callable[[], None]]:
        """Show the progress of a study in examples; yields what to call after each step.

        Args:
            what: names the study.
            steps: how often it asks for the answers to the examples of all splits it reports.
        """
        names = [name for split in self.splits for name in self._named(split)]
        examples = sum(len(self.sets[self.targets[name].of]) for name in names)
        with self.track(what, steps * examples) as advance:
            yield lambda: advance(examples)

    def _named(self, split: str) -> Sequence[str]:
        return self.shifts if split == SHIFTS else (split,)

    @property
    def splits(self) -> list[str]:
        """The splits that a study reports: held-out, test and the mean of the shifts, if any."""
        return ["heldout", "test", *([SHIFTS] if self.shifts else [])]

    def weights(self, point: Point) -> Weights:
        """The weights of a point; of a combination each tensor is computed when it is read."""
        if point.model is not None:
            return self.models[point.model].weights
        return combine([(c, self.models[name].weights) for name, c in point.terms])

    def digest(self, point: Point) -> str:
        """Identifies the weights of a point, and how its BatchNorm statistics are made."""
        if point.model is not None:
            return self.models[point.model].digest
        terms = [[self.models[name].digest, c] for name, c in point.terms]
        return of_value(["combination", sorted(terms), self._averaged])

    def logits(self, point: Point, split: str) -> Logits:
        """The logits of a point for the possible answers of a split (not the mean of shifts).

        float16 (examples, answers), or float32 beyond its range.
        """
        target = self.targets[split]
        return target.project(self._recent(point, target.of))

    def score(self, point: Point, split: str) -> Score:
        """Accuracy by example, likelihood and calibration of a point on a split.

        Of logits that are too large to be kept, the score is kept.
        """
        target = self.targets[split]
        if self._small(target.of):
            return score(self.logits(point, split), target.labels)
        return unpacked(
            self.value(
                ["score"],
                [point],
                [split],
                lambda: packed(score(self.logits(point, split), target.labels)),
            )
        )

    def rights(self, point: Point, split: str) -> list[Correct]:
        """Which examples are classified correctly: of each shift for "shifts", else of a split."""
        return [self.score(point, name).right for name in self._named(split)]

    def accuracy(self, point: Point, split: str) -> float:
        """The accuracy on a split, or the mean of those on the shifts."""
        return float(np.mean([right.mean() for right in self.rights(point, split)]))

    def ensemble_rights(self, weights: Mapping[str, float], split: str) -> list[Correct]:
        """As `rights`, of the sum of models' logits with these weights."""
        return [self.ensemble_score(weights, name).right for name in self._named(split)]

    def ensemble_score(self, weights: Mapping[str, float], split: str) -> Score:
        """The score of the sum of models' logits with these weights, which costs no combination."""
        total = sum(c * self.logits(only(n), split).astype(np.float64) for n, c in weights.items())
        return score(np.asarray(total), self.targets[split].labels)

    def figures(self, point: Point, splits: Sequence[str]) -> dict[str, dict[str, float]]:
        """For each split n (examples), errors and nll of a point; the figures alone are kept.

        For many points that no other study asks for.
        """

        def compute() -> dict[str, dict[str, float | None]]:
            told: dict[str, dict[str, float | None]] = {}
            for split in splits:
                target = self.targets[split]
                logits = target.project(self._answers(point, target.of, keep=False))
                scored = score(logits, target.labels)
                nll = scored.nll if np.isfinite(scored.nll) else None
                errors = int((~scored.right).sum())
                told[split] = {"n": len(scored.right), "errors": errors, "nll": nll}
            return told

        value = self.value(["figures"], [point], splits, compute)
        return {split: {k: number(v) for k, v in value[split].items()} for split in splits}

    def value(
        self,
        what: Sequence[Any],
        points: Sequence[Point],
        splits: Sequence[str],
        compute: Callable[[], Any],
    ) -> Any:
        """A JSON value that is computed once from points on splits.

        Args:
            what: names the value and all settings that it depends on beside points and splits.
            points: that it is computed from.
            splits: on which; none of what depends on the weights alone.
            compute: makes the value, without NaN.
        """
        asked = [[*what], [*map(self.digest, points)], [*map(self._asked, splits)]]
        digest = of_value(asked)
        value = self.kept.value(digest)
        if value is None:
            value = compute()
            self.kept.keep_value(digest, value)
        return value

    @property
    def recipes(self) -> list[str]:
        """The recipes that `soup` knows: uniform, greedy, and that of the sweep's own soup."""
        return [*dict.fromkeys(("uniform", "greedy", *self._soups))]

    def soup(self, recipe: str) -> Point:
        """The soup of the candidates; the greedy one is cooked now if the sweep's is another."""
        if recipe == "uniform":
            return mean(self.candidates)
        if recipe not in self._soups:
            self._soups[recipe] = mean(self.greedy(self.candidates))
        return self._soups[recipe]

    def greedy(self, order: Sequence[str], split: str = "heldout") -> list[str]:
        """The greedy soup (Recipe 1 of the paper) of models in this order: the names it keeps."""
        return greedy(order, lambda names: int(self.score(mean(names), split).right.sum()))

    def _answers(self, point: Point, split: str, keep: bool = True) -> Logits:
        """The logits of all classes on the examples of a split: stored ones, or a new pass."""
        columns = columns_of(self.targets, split)
        stored = self._of_pipeline(point, split, columns)
        if stored is not None:
            return stored[self._rows[split]] if split in self._rows else stored
        digest = self._digest(point, self.sets[split], columns)
        logits = self.kept.logits(digest)
        if logits is None:
            if self._loaded is None or self._loaded[0] != point:
                # The same object for all splits, by which `predict` knows what it has loaded.
                self._loaded = point, self.weights(point)
            exact = self._predict(self._loaded[1], self.sets[split], point.model is None)
            logits = to_float16_keeping_argmax(exact, columns)
            if keep and (point.model is not None or self._small(split)):
                self.kept.keep_logits(digest, logits)
        return logits

    def _of_pipeline(
        self, point: Point, split: str, columns: Sequence[NDArray[np.int64]]
    ) -> Logits | None:
        """The logits of a model on all examples, if the pipeline keeps them."""
        if point.model is None or split == TRAIN:
            return None
        if split == "heldout":
            stored = self.models[point.model].heldout
            logits = stored() if stored is not None else None
        else:
            logits = self._find(split, self._digest(point, self._all[split], columns))
        if logits is None or overflowed(logits):
            return None
        return to_float16_keeping_argmax(logits, columns) if split == "heldout" else logits

    def _digest(
        self, point: Point, examples: Examples, columns: Sequence[NDArray[np.int64]]
    ) -> str:
        weights = self.digest(point)
        return digest_of_logits(weights, examples.digest, self.architecture, self._how, columns)

    def _asked(self, split: str) -> str:
        """Identifies the examples of a split, their right answers, and how logits are made."""
        if split not in self._digests:
            target = self.targets[split]
            columns = columns_of(self.targets, target.of)
            examples = self.sets[target.of].digest
            self._digests[split] = of_value(
                [
                    digest_of_logits("", examples, self.architecture, self._how, columns),
                    target.labels.tolist(),
                    None if target.rows is None else target.rows.tolist(),
                    [*target.groups],
                ]
            )
        return self._digests[split]

    def _small(self, split: str) -> bool:
        columns = max((len(t.columns) for t in self.targets.values() if t.of == split), default=0)
        return 2 * len(self.sets[split]) * columns <= LARGEST
