"""Scores of all logits, and the least cost that is still possible before all examples were seen."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

Score = Callable[[Tensor, Tensor], float]
# A bound is computed in another way than the score, and rounding must reject nobody.
SLACK = 1e-9


@runtime_checkable
class CountScore(Protocol):
    """A score that is a function of counts: how many examples of a label got which answer.

    So the best that is still possible is known before all examples were seen.
    """

    def __call__(self, logits: Tensor, labels: Tensor, /) -> float:
        """The cost of logits (examples, classes) for labels (examples,), both on the CPU."""

    def table(self, logits: Tensor, labels: Tensor, /) -> Tensor:
        """Counts (classes, classes + 1) by label and answer; those of several batches add up."""

    def least(self, table: Tensor, unseen: Tensor, /) -> float:
        """No more than the cost of any answers to the rest.

        Args:
            table: of the examples seen.
            unseen: (classes,), how many examples of each label were not.
        """


@runtime_checkable
class BoundedScore(Protocol):
    """A score with a bound that follows from the outputs for some of the examples."""

    def __call__(self, logits: Tensor, labels: Tensor, /) -> float:
        """As of a `CountScore`."""

    def least(self, logits: Tensor, seen: Tensor, labels: Tensor, /) -> float:
        """No more than the cost, whatever the outputs for the examples not seen are.

        Args:
            logits: of the examples seen.
            seen: indices of these examples.
            labels: of all examples.
        """


def least_cost(score: Score, labels: Tensor) -> Callable[[Tensor, list[Tensor]], float] | None:
    """The bound of one pass: (indices of a batch, outputs so far) -> the least possible cost.

    Args:
        labels: of all examples, on the CPU.

    Returns:
        What is called after each batch; None if the score has no bound.
    """
    if isinstance(score, CountScore):
        return _by_counts(score, labels)
    if isinstance(score, BoundedScore):
        return _by_outputs(score, labels)
    return None


def _by_counts(score: CountScore, every: Tensor) -> Callable[[Tensor, list[Tensor]], float]:
    table: Tensor | None = None
    unseen: Tensor | None = None

    def least(part: Tensor, outputs: list[Tensor]) -> float:
        nonlocal table, unseen
        labels, classes = every[part], outputs[-1].shape[1]
        if unseen is None:
            unseen = torch.bincount(every, minlength=classes)
        unseen = unseen - torch.bincount(labels, minlength=classes)
        more = score.table(outputs[-1], labels)
        table = more if table is None else table + more
        return score.least(table, unseen) - SLACK

    return least


def _by_outputs(score: BoundedScore, every: Tensor) -> Callable[[Tensor, list[Tensor]], float]:
    parts: list[Tensor] = []

    def least(part: Tensor, outputs: list[Tensor]) -> float:
        parts.append(part)
        return score.least(torch.cat(outputs), torch.cat(parts), every) - SLACK

    return least
