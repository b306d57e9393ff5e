"""A running mean, with which greedy selection adds a model without reading the others again."""

import torch
from torch import Tensor

from soup.weights.mapping import (
    Weights,
    display_name,
    materialize,
    require_compatible,
    specs,
    tensorwise,
)


class RunningMean:
    """The sum of the models added so far, on the device of the first model's tensors."""

    def __init__(self, accumulate: torch.dtype = torch.float64) -> None:
        self.count = 0
        self._accumulate = accumulate
        self._first: Weights = {}
        self._sum: dict[str, Tensor] = {}

    def add(self, weights: Weights) -> None:
        """Add a model to the sum.

        Raises:
            Incompatible: names or shapes differ from those of the first model.
        """
        if self.count == 0:
            self._first = materialize(weights)
            for name, spec in specs(self._first).items():
                if spec.dtype.is_floating_point:
                    self._sum[name] = self._first[name].to(self._accumulate, copy=True)
        else:
            self._require_compatible(weights)
            if _ties(weights) != _ties(self._first):  # the mean ties only what all models tie
                self._first = {name: tensor.clone() for name, tensor in self._first.items()}
            for name, total in self._sum.items():
                total.add_(weights[name].to(total.device))
        self.count += 1

    def value(self, candidate: Weights | None = None) -> dict[str, Tensor]:
        """Return the mean of the models added so far, and of the candidate if one is given.

        The candidate is not added.

        Raises:
            ValueError: no model was added.
            Incompatible: the candidate's names or shapes differ.
        """
        if self.count == 0:
            raise ValueError("nothing to average: no weights were given")
        if candidate is None:
            return materialize(
                tensorwise(lambda name, _: self._sum[name] / self.count, [self._first])
            )
        self._require_compatible(candidate)
        count = self.count + 1

        def mean(name: str, tensors: list[Tensor]) -> Tensor:
            total = self._sum[name]
            return (total + tensors[1].to(total.device)).div_(count)

        return materialize(tensorwise(mean, [self._first, candidate]))

    def _require_compatible(self, weights: Weights) -> None:
        names = display_name(self._first, 1), display_name(weights, self.count + 1)
        require_compatible(self._first, weights, names)


def _ties(weights: Weights) -> list[tuple[str, str]]:
    return sorted((name, spec.tied) for name, spec in specs(weights).items())
