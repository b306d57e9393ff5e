"""Several models merged into one whose tensors are computed when they are read."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Self

import torch
from torch import Tensor

from soup.weights.kinds import averaged
from soup.weights.mapping import (
    LazyWeights,
    Reader,
    Spec,
    Weights,
    materialize,
    reader,
    specs,
    twin,
)
from soup.weights.mergeable import MergeWarning, notes, require_mergeable
from soup.weights.numbers import shaped


class Merged(LazyWeights, ABC):
    """Models merged tensor by tensor: a subclass computes the numbers of one tensor.

    Tensors that are not averaged (`soup.weights.kinds`) are those of the first model.
    """

    def __init__(self, models: Sequence[Weights], dtype: torch.dtype | None = None) -> None:
        """
        Args:
            models: of the same tensor names and shapes.
            dtype: of the result's floating-point tensors; the first model's by default.

        Raises:
            ValueError: there are no models.
            Incompatible: they cannot be merged.
        """
        self._models = aligned(models)
        self.specs = merged_specs(self._models, dtype)

    @abstractmethod
    def _numbers(self, name: str, dtype: torch.dtype) -> Tensor:
        """Return the merged numbers of a tensor, flat and real, rounded once to the dtype."""

    def __getitem__(self, name: str) -> Tensor:
        spec = self.specs[name]
        if not averaged(spec.dtype):
            return self._models[0][name].detach().clone()
        return shaped(self._numbers(name, spec.dtype.to_real()), spec.shape, spec.dtype)

    def astype(self, dtype: torch.dtype) -> Self:
        """Return the same merge with floating-point tensors of another dtype, rounded once."""
        other = copy(self)
        other.specs = {name: _cast(spec, dtype) for name, spec in self.specs.items()}
        return other

    def __str__(self) -> str:
        return f"a soup of {len(self._models)} models"


class _Aliased(LazyWeights):
    """Weights that list a tied tensor under one more name."""

    def __init__(self, weights: LazyWeights, twins: Mapping[str, str]) -> None:
        self._weights, self._twins = weights, twins
        self.specs = {**weights.specs, **{n: weights.specs[t] for n, t in twins.items()}}

    def __getitem__(self, name: str) -> Tensor:
        return self._weights[self._twins.get(name, name)]

    def reader(self, name: str) -> Reader:
        return reader(self._weights, self._twins.get(name, name))

    def __str__(self) -> str:
        return str(self._weights)


def aligned(models: Sequence[Weights]) -> list[Weights]:
    """Let every model list the tied tensors that another one lists (see `twin`)."""
    tensors_of = [specs(model) for model in models]
    names = dict.fromkeys(name for tensors in tensors_of for name in tensors)
    result: list[Weights] = []
    for model, tensors in zip(models, tensors_of, strict=True):
        twins: dict[str, str] = {}
        for name in (n for n in names if n not in tensors):
            same = {twin(name, other, tensors) for other in tensors_of if name in other}
            if len(same) == 1 and None not in same:
                twins |= {name: str(same.pop())}
        if twins and isinstance(model, LazyWeights):
            result.append(_Aliased(model, twins))
        else:
            result.append({**model, **{n: model[t] for n, t in twins.items()}} if twins else model)
    return result


def merged_specs(models: Sequence[Weights], dtype: torch.dtype | None = None) -> dict[str, Spec]:
    """Return the specs of a tensor-by-tensor function of several models.

    Warns (`MergeWarning`) of what a user should know about the result.

    Args:
        models: of the same tensor names and shapes.
        dtype: of the result's floating-point tensors; the first model's by default.

    Raises:
        ValueError: there are no models.
        Incompatible: they cannot be merged.
    """
    if not models:
        raise ValueError("nothing to average: no weights were given")
    require_mergeable(models)
    for note in notes(models, dtype):
        warnings.warn(note, MergeWarning, stacklevel=2)
    specs_of_models = [specs(model) for model in models]
    groups: dict[tuple[str, ...], str] = {}
    merged = {}
    for name, spec in specs_of_models[0].items():
        # Names that are tied in one model and not in another hold two tensors in the result.
        tied = groups.setdefault(tuple(tensors[name].tied for tensors in specs_of_models), name)
        merged[name] = _cast(spec._replace(tied=tied), dtype)
    return merged


def _cast(spec: Spec, dtype: torch.dtype | None) -> Spec:
    real = averaged(spec.dtype) and not spec.dtype.is_complex
    return spec._replace(dtype=dtype) if dtype and real else spec


def materialize_if_eager(result: LazyWeights, models: Sequence[Weights]) -> Weights:
    """Return the result as a dictionary if all models are dictionaries, else as it is."""
    return materialize(result) if all(isinstance(model, dict) for model in models) else result
