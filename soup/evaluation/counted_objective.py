"""A held-out loss whose passes are counted."""

from collections.abc import Callable, Iterable
from typing import Any

from soup.recipes.learned import Gradients, Objective
from soup.weights import Weights


class CountedObjective:
    """An objective that tells of its passes; see `soup.recipes.learned.Objective`."""

    def __init__(self, objective: Objective, heldout: int, count: Callable[[int], None]) -> None:
        """
        Args:
            heldout: number of held-out examples; those that are not learned from are checked.
            count: called with the number of examples of each pass.
        """
        self._objective, self._count = objective, count
        self.device, self.storage = objective.device, objective.storage
        self._checked = heldout - sum(map(len, objective.batches(0)))

    def batches(self, epoch: int, size: int | None = None) -> Iterable[Any]:
        return self._objective.batches(epoch, size)

    def __call__(self, weights: Weights, beta: float, batch: Any) -> Gradients:
        self._count(len(batch))
        return self._objective(weights, beta, batch)

    def check(self, weights: Weights, beta: float) -> float | None:
        self._count(self._checked)
        return self._objective.check(weights, beta)
