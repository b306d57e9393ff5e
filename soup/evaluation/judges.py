"""Judges, which compute the cost of candidate weights: a number of errors, or any other score.

Greedy selection only needs to know whether the cost of a candidate exceeds a bound. `ErrorJudge`
counts errors, visits the hardest examples first, and stops as soon as the bound is exceeded; its
decision is that of a full pass. A score that is not a sum over examples (F1, Matthews) cannot be
stopped early: `ScoreJudge` always computes all logits.

Given a `Recalibration`, a judge recomputes the BatchNorm statistics of each candidate on training
inputs before it judges, and a recipe's soup has these statistics.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from soup.evaluation.metrics import Correct, Logits
from soup.models.batchnorm import Recalibration
from soup.weights import Weights
from soup.weights.merged import replaced

Load = Callable[[nn.Module, Weights], None]
ErrorFunction = Callable[[Tensor, Tensor], Tensor]
Score = Callable[[Tensor, Tensor], float]


def load_exactly(model: nn.Module, weights: Weights) -> None:
    """Copy weights into a model that has exactly these tensors.

    Raises:
        RuntimeError: names or shapes differ; the message of torch lists them.
    """
    model.load_state_dict(dict(weights))


@dataclass(frozen=True)
class Loading:
    """Loads candidate weights into a model, and recomputes BatchNorm statistics if that is wanted.

    Attributes:
        load: copies weights into a model.
        recalibration: recomputes the statistics; None for those of the weights.
    """

    load: Load
    recalibration: Recalibration | None = None

    def __call__(self, model: nn.Module, weights: Weights) -> None:
        self.load(model, weights)
        if self.recalibration is not None:
            self.recalibration(model, weights)

    def recalibrated(self, model: nn.Module, weights: Weights) -> Weights:
        """The weights with the statistics that a call gives the model."""
        if self.recalibration is None:
            return weights
        self.load(model, weights)
        return replaced(weights, self.recalibration(model, weights))


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


def hardest_first(correct: Sequence[Correct], soup: Correct | None = None) -> NDArray[np.int64]:
    """Indices of the examples by decreasing number of models that are wrong; ties keep their order.

    Args:
        correct: for each model, which examples it classifies correctly.
        soup: the same for the current soup. Its errors come first, because the next candidate
            differs from the soup by one model and makes mostly the same errors.
    """
    wrong = np.sum([~of_model for of_model in correct], axis=0)
    if soup is not None:
        wrong = wrong + (len(correct) + 1) * ~soup
    return np.argsort(-wrong, kind="stable")


class ErrorJudge:
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
        """
        device = next(model.parameters()).device
        self._model, self._prepare, self._wrong = model.eval(), prepare, wrong
        self._load = Loading(load, recalibration)
        self._correct = [*correct]
        best = min(correct, key=lambda of_model: int((~of_model).sum()), default=None)
        order = np.arange(len(labels)) if best is None else hardest_first(correct, best)
        self._order = torch.from_numpy(order).to(device)
        self._inputs, self._labels = inputs.to(device), labels.to(device)
        self._batch_size = batch_size
        self.examples_seen: list[int] = []
        self.answers: list[Correct | None] = []
        self.logits: Logits | None = None

    @torch.inference_mode()
    def __call__(self, weights: Weights, at_most: float | None = None) -> int | None:
        """The number of errors; None if it exceeds `at_most`."""
        self._load(self._model, weights)
        errors, n = 0, len(self._labels)
        right, outputs = torch.empty(n, dtype=torch.bool), []
        for start in range(0, n, self._batch_size):
            stop = min(start + self._batch_size, n)
            part = self._order[start:stop]
            logits = self._model(self._prepare(self._inputs[part]))
            wrong = self._wrong(logits, self._labels[part]).cpu()
            right[part.cpu()] = ~wrong
            outputs.append(logits.float().cpu())
            errors += int(wrong.sum())
            if at_most is not None and errors > at_most:
                self.examples_seen.append(stop)
                self.answers.append(None)
                return None
        self.examples_seen.append(n)
        self.answers.append(right.numpy())
        self.logits = torch.cat(outputs)[self._order.argsort().cpu()].numpy()
        if at_most is not None and self._correct:
            order = hardest_first(self._correct, right.numpy())
            self._order = torch.from_numpy(order).to(self._order.device)
        return errors

    def recalibrated(self, weights: Weights) -> Weights:
        """The weights whose errors a call counts: with recomputed BatchNorm statistics."""
        return self._load.recalibrated(self._model, weights)


class ScoreJudge:
    """Any score of all logits, as a cost: lower is better. Every call visits all examples."""

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
    ) -> None:
        """
        Args:
            score: logits (examples, classes), labels (examples, ...), both on the CPU -> cost.

        The other arguments are those of `ErrorJudge`.
        """
        device = next(model.parameters()).device
        self._model, self._prepare, self._score = model.eval(), prepare, score
        self._load = Loading(load, recalibration)
        self._inputs, self._labels = inputs.to(device), labels.cpu()
        self._batch_size = batch_size

    @torch.inference_mode()
    def __call__(self, weights: Weights, at_most: float | None = None) -> float | None:
        """The cost; None if it is not at most `at_most`."""
        self._load(self._model, weights)
        batches = self._inputs.split(self._batch_size)
        logits = torch.cat([self._model(self._prepare(batch)).float().cpu() for batch in batches])
        cost = float(self._score(logits, self._labels))
        # Written so that the NaN of a diverged model exceeds every bound.
        return None if at_most is not None and not cost <= at_most else cost

    def recalibrated(self, weights: Weights) -> Weights:
        """The weights whose cost a call computes: with recomputed BatchNorm statistics."""
        return self._load.recalibrated(self._model, weights)
