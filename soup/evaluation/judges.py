"""Judges over any torch model and labelled inputs: errors counted exactly, or any other score.

Greedy selection asks of each candidate whether its cost exceeds a bound. Where the cost is a number
of errors, the answer is known before all examples are seen: `ErrorJudge` visits them hardest first
and stops as soon as the bound is exceeded, with the decision of a full pass. A score that is no sum
over examples (F1, Matthews) has no such bound: `ScoreJudge` looks at all of them.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from soup.evaluation.metrics import Correct, Logits
from soup.weights import Weights

Load = Callable[[nn.Module, Weights], None]
ErrorFunction = Callable[[Tensor, Tensor], Tensor]
Score = Callable[[Tensor, Tensor], float]


def load_exactly(model: nn.Module, weights: Weights) -> None:
    """Copy weights into a model whose names they have, all of them.

    Raises:
        RuntimeError: names or shapes differ; torch lists them.
    """
    model.load_state_dict(dict(weights))


def top(k: int) -> ErrorFunction:
    """An example is wrong if its label is not among the k highest logits, or one is NaN."""

    def wrong(logits: Tensor, labels: Tensor) -> Tensor:
        # Not topk for one: of equal logits argmax takes the first, as numpy does for the scores.
        best = logits.argmax(dim=1, keepdim=True) if k == 1 else logits.topk(k, dim=1).indices
        return (best != labels[:, None]).all(dim=1) | logits.isnan().any(dim=1)

    return wrong


TOP1_ERROR = top(1)


def hardest_first(correct: Sequence[Correct], soup: Correct | None = None) -> NDArray[np.int64]:
    """Indices by decreasing number of models that are wrong; equal ones keep their order.

    Args:
        soup: what the present soup gets right: the next candidate, which differs by one model, is
            mostly wrong where the soup is, so that these come before all others.
    """
    wrong = np.sum([~each for each in correct], axis=0)
    if soup is not None:
        wrong = wrong + (len(correct) + 1) * ~soup
    return np.argsort(-wrong, kind="stable")


class ErrorJudge:
    """Counts errors exactly, and stops as soon as they exceed what the rule allows.

    Where a bound was given and held, the candidate is the soup that the next ones are like: from
    then on, what it got wrong is visited first.

    Attributes:
        examples_seen: examples looked at, one entry a call.
        answers: for each call that looked at all, which examples were right, in the given order;
            None for a call that stopped early.
        logits: of the last call that looked at all, float32 (examples, classes), in that order.
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
    ) -> None:
        """
        Args:
            model: any model that takes the weights, which are overwritten; where it is, it runs.
            inputs: (examples, ...), held on the model's device.
            labels: (examples, ...), whatever `wrong` compares logits with.
            correct: for each ingredient already scored, which examples it got right: the order.
            wrong: logits (batch, classes) and labels -> which examples count as errors (batch,).
            prepare: a batch of inputs -> what the model takes.
            load: puts weights into the model.
        """
        device = next(model.parameters()).device
        self._model, self._load, self._prepare, self._wrong = model.eval(), load, prepare, wrong
        self._correct = [*correct]
        best = min(correct, key=lambda each: int((~each).sum()), default=None)
        order = np.arange(len(labels)) if best is None else hardest_first(correct, best)
        self._order = torch.from_numpy(order).to(device)
        self._inputs, self._labels = inputs.to(device), labels.to(device)
        self._batch_size = batch_size
        self.examples_seen: list[int] = []
        self.answers: list[Correct | None] = []
        self.logits: Logits | None = None

    @torch.inference_mode()
    def __call__(self, weights: Weights, at_most: float | None = None) -> int | None:
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


class ScoreJudge:
    """Any score of all the logits, as a cost: lower is better. Every call looks at all examples."""

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        score: Score,
        batch_size: int = 256,
        prepare: Callable[[Tensor], Tensor] = lambda batch: batch,
        load: Load = load_exactly,
    ) -> None:
        """
        Args:
            score: logits (examples, classes) and labels, both on the CPU, -> a cost.
        """
        device = next(model.parameters()).device
        self._model, self._load, self._prepare, self._score = model.eval(), load, prepare, score
        self._inputs, self._labels = inputs.to(device), labels.cpu()
        self._batch_size = batch_size

    @torch.inference_mode()
    def __call__(self, weights: Weights, at_most: float | None = None) -> float | None:
        self._load(self._model, weights)
        batches = self._inputs.split(self._batch_size)
        logits = torch.cat([self._model(self._prepare(batch)).float().cpu() for batch in batches])
        cost = float(self._score(logits, self._labels))
        # A score that is not a number, of a model that diverged, is no better than any other.
        return None if at_most is not None and not cost <= at_most else cost
