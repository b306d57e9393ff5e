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


class Computed(LazyWeights, ABC):
    """Weights that are computed from others, and so can be computed anew in another dtype."""

    @abstractmethod
    def astype(self, dtype: torch.dtype) -> Self:
        """Return the same with floating-point tensors of another dtype, rounded once."""


class Merged(Computed):
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
        self._models, self.specs = prepare(models, dtype)

    @abstractmethod
    def _numbers(self, name: str, dtype: torch.dtype) -> Tensor:
        """Return the merged numbers of a tensor, flat and real, rounded once to the dtype.

        Args:
            name: of the tensor; of a tied one the first.
            dtype: of the numbers.
        """

    def __getitem__(self, name: str) -> Tensor:
        spec = self.specs[name]
        if not averaged(spec.dtype):
            return self._models[0][name].detach().clone()
        # What is merged by name (a mask, a depth) must be the same under every name of a tensor.
        return shaped(self._numbers(spec.tied, spec.dtype.to_real()), spec.shape, spec.dtype)

    def astype(self, dtype: torch.dtype) -> Self:
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


def prepare(
    models: Sequence[Weights], dtype: torch.dtype | None = None
) -> tuple[list[Weights], dict[str, Spec]]:
    """Check that models can be merged tensor by tensor, and return them with the result's specs.

    Warns (`MergeWarning`) of what a user should know about the result.

    Args:
        models: of the same tensor names and shapes.
        dtype: of the result's floating-point tensors; the first model's by default.

    Returns:
        The models, each of which lists every tied tensor that another one lists, and the specs.

    Raises:
        ValueError: there are no models.
        Incompatible: they cannot be merged.
    """
    if not models:
        raise ValueError("nothing to average: no weights were given")
    models, specs_of_models = _aligned(models)
    require_mergeable(models, specs_of_models)
    for note in notes(models, dtype, specs_of_models):
        warnings.warn(note, MergeWarning, stacklevel=2)
    groups: dict[tuple[str, ...], str] = {}
    merged = {}
    for name, spec in specs_of_models[0].items():
        # Names that are tied in one model and not in another hold two tensors in the result.
        tied = groups.setdefault(tuple(tensors[name].tied for tensors in specs_of_models), name)
        merged[name] = _cast(spec._replace(tied=tied), dtype)
    return models, merged


def _aligned(models: Sequence[Weights]) -> tuple[list[Weights], list[Mapping[str, Spec]]]:
    """Let every model list the tied tensors that another one lists (see `twin`)."""
    tensors_of = [specs(model) for model in models]
    if all(tensors.keys() == tensors_of[0].keys() for tensors in tensors_of):
        return [*models], tensors_of
    names = dict.fromkeys(name for tensors in tensors_of for name in tensors)
    aligned = []
    for model, tensors in zip(models, tensors_of, strict=True):
        found = {
            name: {twin(name, other, tensors) for other in tensors_of if name in other}
            for name in names
            if name not in tensors
        }
        twins = {name: t for name, same in found.items() for t in same if t and len(same) == 1}
        aligned.append(_with_twins(model, twins) if twins else model)
    return aligned, [specs(model) for model in aligned]


def _with_twins(model: Weights, twins: Mapping[str, str]) -> Weights:
    if isinstance(model, LazyWeights):
        return _Aliased(model, twins)
    return {**model, **{name: model[held] for name, held in twins.items()}}


def _cast(spec: Spec, dtype: torch.dtype | None) -> Spec:
    real = averaged(spec.dtype) and not spec.dtype.is_complex
    return spec._replace(dtype=dtype) if dtype and real else spec


def materialize_if_eager(result: LazyWeights, models: Sequence[Weights]) -> Weights:
    """Return the result as a dictionary if all models are dictionaries, else as it is."""
    return materialize(result) if all(isinstance(model, dict) for model in models) else result
