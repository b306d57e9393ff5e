"""A running mean, with which greedy selection adds a model without reading the others again."""

import torch
from torch import Tensor

from soup.weights.mapping import (
    Merged,
    Weights,
    display_name,
    materialize,
    merged_specs,
    require_compatible,
    specs,
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
            # The mean ties only what all models tie.
            if merged_specs([self._first, weights]) != specs(self._first):
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
        if candidate is not None:
            self._require_compatible(candidate)

        def mean(name: str) -> Tensor:
            total = self._sum[name]
            if candidate is None:
                return total / self.count
            return (total + candidate[name].to(total.device)).div_(self.count + 1)

        models = [self._first] if candidate is None else [self._first, candidate]
        return materialize(Merged(models, mean))

    def _require_compatible(self, weights: Weights) -> None:
        names = display_name(self._first, 1), display_name(weights, self.count + 1)
        require_compatible(self._first, weights, names)
