"""A running mean, with which greedy selection adds a model without reading the others again."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from soup.weights.kinds import averaged
from soup.weights.mapping import Weights, display_name, materialize, require_compatible, specs
from soup.weights.merged import Merged, prepare
from soup.weights.numbers import fitted, numbers, rounded
from soup.weights.streaming_sum import raise_not_finite


class RunningMean:
    """The sum of the models added so far, on the device of the first model's tensors."""

    def __init__(self, accumulate: torch.dtype = torch.float64) -> None:
        self.count = 0
        self._accumulate = accumulate
        self._first: Weights = {}
        self._eager = True
        self._sum: dict[str, Tensor] = {}

    def add(self, weights: Weights) -> None:
        """Add a model to the sum.

        Raises:
            Incompatible: it cannot be averaged with the first model.
        """
        self._eager = self._eager and isinstance(weights, dict)
        if self.count == 0:
            self._first = materialize(weights)
            for name, spec in specs(self._first).items():
                if averaged(spec.dtype) and spec.tied == name:
                    self._sum[name] = numbers(self._first[name]).to(self._accumulate, copy=True)
        else:
            self._require_compatible(weights)
            (first, other), after = prepare([self._first, weights])
            before = specs(first)
            for name, spec in after.items():
                if averaged(spec.dtype) and spec.tied == name and name not in self._sum:
                    self._sum[name] = self._sum[before[name].tied].clone()
            if any(after[name].tied != before[name].tied for name in after):
                copies = {name: first[name].clone() for name in after if after[name].tied == name}
                first = {name: copies[spec.tied] for name, spec in after.items()}
            self._first = first
            for name, total in self._sum.items():
                total.add_(numbers(other[name]).to(total.device))
        self.count += 1

    def value(self, candidate: Weights | None = None) -> dict[str, Tensor]:
        """Return the mean of the models added so far, and of the candidate if one is given.

        The candidate is not added.

        Raises:
            ValueError: no model was added.
            Incompatible: the candidate cannot be averaged with the first model.
            NotFinite: there is no candidate, and a number is NaN or infinite.
        """
        if candidate is not None:
            self._require_compatible(candidate)
        return materialize(self._mean([] if candidate is None else [candidate]))

    def result(self) -> Weights:
        """Return the mean: a dictionary if all models were dictionaries, else lazy weights.

        Lazy weights hold the sum, and can be cast to another dtype with one rounding. No model may
        be added afterwards.

        Raises:
            ValueError: no model was added.
            NotFinite: a number is NaN, infinite or too large for the dtype (of lazy weights, when
                it is computed).
        """
        mean = self._mean([])
        return materialize(mean) if self._eager else mean

    def _mean(self, candidates: Sequence[Weights]) -> "_Mean":
        if self.count == 0:
            raise ValueError("nothing to average: no weights were given")
        return _Mean([self._first, *candidates], self._sum, self.count + len(candidates))

    def _require_compatible(self, weights: Weights) -> None:
        names = display_name(self._first, 1), display_name(weights, self.count + 1)
        require_compatible(self._first, weights, names)


class _Mean(Merged):
    """(sum + candidate) / count, or sum / count if the models are the first one alone."""

    def __init__(self, models: Sequence[Weights], sums: Mapping[str, Tensor], count: int) -> None:
        super().__init__(models)
        self._sums, self._count = sums, count
        self._stored = {name: spec.tied for name, spec in specs(self._models[0]).items()}

    def _numbers(self, name: str, dtype: torch.dtype) -> Tensor:
        total = self._sums[self._stored[name]]
        if len(self._models) == 1:
            mean = total / self._count
            parts = [total, numbers(self._models[0][name])]
            mean, fits = fitted(mean, dtype, lambda: iter(parts)) if len(mean) else (mean, True)
            if not fits:
                raise_not_finite(name, self._models, dtype)
            return mean.to(dtype)
        # Not checked: a judge may reject a candidate that diverged.
        candidate = numbers(self._models[1][name]).to(total.device)
        return rounded((total + candidate).div_(self._count), dtype)
