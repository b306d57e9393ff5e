"""Judges, which compute the cost of candidate weights: a number of errors, or any other score.

Greedy selection only needs to know whether the cost of a candidate exceeds a bound. `ErrorJudge`
counts errors, visits the hardest examples first, and stops as soon as the bound is exceeded; its
decision is that of a full pass. `ScoreJudge` computes scores that are no sum over examples: those
that are a function of counts (F1, Matthews) stop early by the best that the other examples allow.

Given a `Recalibration`, a judge recomputes the BatchNorm statistics of each candidate on training
inputs before it judges, and a recipe's soup has these statistics.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from soup.evaluation.metrics import Correct, Logits, Margins, well_predicted
from soup.evaluation.passes import Load, Loading, Passes, load_exactly
from soup.evaluation.score_bounds import Score, least_cost
from soup.models.batchnorm import Recalibration
from soup.weights import Weights

ErrorFunction = Callable[[Tensor, Tensor], Tensor]
# The errors of the next batches, as a share of those of the last: the hardest examples come first.
# Other shares took longer in `benchmarks/simulate_speculation.py`; it decides nothing.
FALLING = 0.9


def top(k: int) -> ErrorFunction:
    """The error function of top-k accuracy.

    An example is an error if its label is not among its k highest logits (of equal logits, the
    first come first), or if it has no prediction (see `metrics.predicted`). With k classes or
    fewer, every example with a prediction is right.
    """

    def wrong(logits: Tensor, labels: Tensor) -> Tensor:
        if k == 1:
            best = logits.argmax(dim=1, keepdim=True)
        else:
            best = logits.argsort(dim=1, descending=True, stable=True)[:, :k]
        # The maximum is NaN if any logit is.
        undecided = ~(logits.amax(dim=1) > -torch.inf)
        return (best != labels[:, None]).all(dim=1) | undecided

    return wrong


TOP1_ERROR = top(1)


class Judging:
    """What all judges share: passes over the held-out examples."""

    _passes: Passes

    def foresee(self, names: Sequence[str]) -> None:
        """See `soup.recipes.judge.Foreseeing`."""
        self._passes.foresee(names)

    def recalibrated(self, weights: Weights) -> Weights:
        """The weights whose cost a call computes: with recomputed BatchNorm statistics."""
        return self._passes.recalibrated(weights)


class ErrorJudge(Judging):
    """Counts errors exactly, and stops as soon as they exceed the bound.

    A candidate within its bound becomes the soup, which later candidates resemble: its errors are
    visited first from then on.

    Attributes:
        examples_seen: for each call, the number of examples visited.
        answers: for each call, which examples were correct, in the given order; None if the call
            stopped early.
        logits: of the last call that visited all examples, float32 (examples, classes), in the
            given order; None before there is such a call.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        correct: Sequence[Correct] = (),
        batch_size: int = 256,
        wrong: ErrorFunction = TOP1_ERROR,
        prepare: Callable[[Tensor], Tensor] = lambda batch: batch,
        load: Load = load_exactly,
        recalibration: Recalibration | None = None,
        groups: Sequence[NDArray[np.int64]] | None = None,
        lanes: int = 1,
        margins: Mapping[str, Margins] | None = None,
        advance: Callable[[int], object] = lambda _: None,
    ) -> None:
        """
        Args:
            model: takes the weights, which are overwritten; it runs on the device that it is on.
            inputs: (examples, ...); kept on the model's device.
            labels: (examples, ...), in the form that `wrong` takes.
            correct: for each ingredient already scored, which examples it classifies correctly;
                decides the order in which examples are visited.
            batch_size: examples in each forward pass.
            wrong: logits (batch, classes), labels (batch, ...) -> which are errors (batch,).
            prepare: a batch of `inputs` -> the model's input.
            load: copies weights into the model.
            recalibration: recomputes the BatchNorm statistics of each candidate.
            groups: the batches, where not any examples can be computed together: of each, the
                indices of its examples.
            lanes: the most batches that are computed at once, on a CPU. All results, and
                `examples_seen`, are those of a single lane.
            margins: of the ingredients by name (`metrics.margins`), where labels are classes; see
                `foresee`.
            advance: called with the number of examples that are done, seen or not; each call of
                the judge counts all.
        """
        loading = Loading(load, recalibration)
        self._passes = Passes(
            model,
            inputs,
            labels,
            correct,
            batch_size,
            prepare,
            loading,
            groups,
            lanes,
            margins,
            advance,
        )
        self._wrong = wrong
        self.examples_seen: list[int] = []
        self.answers: list[Correct | None] = []
        self.logits: Logits | None = None

    @torch.inference_mode()
    def __call__(self, weights: Weights, at_most: float | None = None) -> int | None:
        """The number of errors; None if it exceeds `at_most`."""
        errors, seen, labels, in_last = 0, 0, self._passes.labels, 0
        right, outputs = torch.empty(len(labels), dtype=torch.bool), []

        def enough(batches: int) -> bool:
            """Whether so many further batches will probably bring the errors above the bound."""
            return at_most is not None and errors + FALLING * in_last * batches > at_most

        with closing(self._passes(weights, enough)) as passes:
            for part, logits in passes:
                wrong = self._wrong(logits, labels[part]).cpu()
                right[part.cpu()] = ~wrong
                outputs.append(logits.float().cpu())
                in_last = int(wrong.sum())
                errors, seen = errors + in_last, seen + len(part)
                if at_most is not None and errors > at_most:
                    self.examples_seen.append(seen)
                    self.answers.append(None)
                    return None
        self.examples_seen.append(seen)
        self.answers.append(right.numpy())
        self.logits = self._passes.in_order(outputs)
        self._passes.learn(self.logits)
        if at_most is not None:
            self._passes.follow(right.numpy())
        return errors


class ScoreJudge(Judging):
    """Any score of all logits, as a cost: lower is better.

    A score of counts (`CountScore`) stops as soon as not even right answers to all other examples
    would bring the cost within the bound, a `BoundedScore` as soon as its bound says so; the
    decision is that of a full pass. With any other score every call visits all examples.

    Attributes:
        examples_seen: for each call, the number of examples visited.
        logits: as in `ErrorJudge`.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        score: Score,
        batch_size: int = 256,
        prepare: Callable[[Tensor], Tensor] = lambda batch: batch,
        load: Load = load_exactly,
        recalibration: Recalibration | None = None,
        correct: Sequence[Correct] = (),
        groups: Sequence[NDArray[np.int64]] | None = None,
        lanes: int = 1,
        margins: Mapping[str, Margins] | None = None,
        advance: Callable[[int], object] = lambda _: None,
    ) -> None:
        """
        Args:
            score: logits (examples, classes), labels (examples, ...), both on the CPU -> cost.

        The other arguments are those of `ErrorJudge`.
        """
        loading = Loading(load, recalibration)
        self._passes = Passes(
            model,
            inputs,
            labels,
            correct,
            batch_size,
            prepare,
            loading,
            groups,
            lanes,
            margins,
            advance,
        )
        self._score, self._labels = score, labels.cpu()
        self.examples_seen: list[int] = []
        self.logits: Logits | None = None

    @torch.inference_mode()
    def __call__(self, weights: Weights, at_most: float | None = None) -> float | None:
        """The cost; None if it is not at most `at_most`."""
        least = least_cost(self._score, self._labels)
        outputs: list[Tensor] = []
        seen = 0
        with closing(self._passes(weights)) as passes:
            for part, output in passes:
                outputs.append(output.float().cpu())
                seen += len(part)
                if least is None or at_most is None:
                    continue
                if least(part.cpu(), outputs) > at_most:
                    self.examples_seen.append(seen)
                    return None
        self.examples_seen.append(seen)
        self.logits = self._passes.in_order(outputs)
        logits = torch.from_numpy(self.logits)
        cost = float(self._score(logits, self._labels))
        if at_most is None or cost <= at_most:
            self._passes.learn(self.logits)
        if at_most is not None and cost <= at_most and logits.ndim == 2 and self._labels.ndim == 1:
            self._passes.follow(well_predicted(self.logits, self._labels.numpy()))
        # Written so that the NaN of a diverged model exceeds every bound.
        return None if at_most is not None and not cost <= at_most else cost
