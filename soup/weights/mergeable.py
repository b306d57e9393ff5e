"""Check that models can be merged, by the table of kinds of tensors (`soup.weights.kinds`)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from soup.errors import some
from soup.weights.kinds import PACKED, averaged, kind_of
from soup.weights.mapping import (
    Incompatible,
    Spec,
    Weights,
    display_name,
    require_compatible,
    specs,
)
from soup.weights.numbers import plain

NOT_PLAIN = "no dense tensor with data (quantised, sparse, sharded, meta); give plain tensors"


class MergeWarning(UserWarning):
    """What a user should know about a merge that is computed all the same."""


def require_mergeable(
    models: Sequence[Weights], tensors_of: Sequence[Mapping[str, Spec]] | None = None
) -> None:
    """Raise `Incompatible` if models cannot be merged; it names every tensor, and what to do.

    Reads the tensors that must be the same in all models (integers, masks, ...), and no others.

    Args:
        models: at least one.
        tensors_of: the specs of each, where they are known.

    Raises:
        Incompatible: names or shapes differ, or `KINDS` refuses a tensor.
    """
    first, *others = models
    tensors, *others_tensors = tensors_of or [specs(model) for model in models]
    titles = [display_name(model, position) for position, model in enumerate(models, start=1)]
    for model, title in zip(models, titles, strict=True):
        if isinstance(model, dict):
            wrong = [name for name in model if not plain(model[name])]
            _refuse(f"{title} cannot be averaged", {NOT_PLAIN: wrong})
    kinds = {name: kind_of(name, tensors) for name in tensors}
    empty = [name for name, kind in kinds.items() if kind.rule == "never"]
    _refuse(f"{titles[0]} cannot be averaged", _by_remedy(empty, tensors))
    for model, other, title in zip(others, others_tensors, titles[1:], strict=True):
        if other != tensors:
            empty = [name for name in other if kind_of(name, other).rule == "never"]
            _refuse(f"{title} cannot be averaged", _by_remedy(empty, other))
            require_compatible(first, model, (titles[0], title))
    same = [name for name, kind in kinds.items() if kind.rule == "equal"]
    for model, title in zip(others, titles[1:], strict=True):
        differ = [name for name in same if not _equal(first[name], model[name])]
        _refuse(f"cannot average {titles[0]} with {title}", _by_remedy(differ, tensors))


def notes(
    models: Sequence[Weights],
    dtype: torch.dtype | None = None,
    tensors_of: Sequence[Mapping[str, Spec]] | None = None,
) -> list[str]:
    """Return what a user should know about the result of a merge.

    Args:
        models: mergeable (see `require_mergeable`).
        dtype: of the result's tensors, if it was given.
        tensors_of: the specs of each model, where they are known.
    """
    first, *others = models
    tensors, *others_tensors = tensors_of or [specs(model) for model in models]
    differ = [
        name
        for name, spec in tensors.items()
        if not averaged(spec.dtype)
        and kind_of(name, tensors).rule == "said"
        and not all(_equal(first[name], model[name]) for model in others)
    ]
    taken = f"{some(differ, 8)}: integers that differ between the models; the first model's stay"
    mixed = [
        f"{name} is {spec.dtype} in the first model and {other[name].dtype} in another"
        for other in others_tensors
        if other != tensors
        for name, spec in tensors.items()
        if averaged(spec.dtype) and other[name].dtype != spec.dtype
    ]
    cast = f"dtypes differ: {some(mixed, 1, '; ')}; the result has those of the first model"
    return [taken] * bool(differ) + [cast] * bool(mixed and dtype is None)


def _by_remedy(names: Sequence[str], tensors: Mapping[str, Spec]) -> dict[str, list[str]]:
    refused: dict[str, list[str]] = {}
    for name in names:
        kind = kind_of(name, tensors)
        refused.setdefault(f"{kind.name}; {kind.remedy}", []).append(name)
    return refused


def _refuse(title: str, refused: Mapping[str, Sequence[str]]) -> None:
    """Raise `Incompatible` if there are names under any of the reasons."""
    lines = [f"{some(names, 8)}: {reason}" for reason, names in refused.items() if names]
    if lines:
        raise Incompatible("\n  ".join([f"{title}:", *lines]))


def _equal(one: Tensor, other: Tensor) -> bool:
    if one.dtype in PACKED and other.dtype == one.dtype:  # torch compares no float4
        one, other = one.view(torch.uint8), other.view(torch.uint8)
    return torch.equal(one, other.to(one.device, one.dtype))
