"""A checkpoint whose tensors are read one by one, shown as the nested tables that were saved.

Each tensor is stood in for by one of its dtype and shape that takes the memory of one number.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from soup.models.conversion.errors import FormatError
from soup.weights import LazyWeights


class Outline(dict[str, Any]):
    """The tables of a checkpoint, with stand-ins for its tensors and None for all else."""

    def __init__(self, weights: LazyWeights, keys_to: Mapping[str, Sequence[str]]) -> None:
        """
        Args:
            weights: the tensors, by name.
            keys_to: the keys that lead to each entry of the tables, by its name.

        Raises:
            FormatError: an entry is a value and a table.
        """
        super().__init__()
        self._weights = weights
        self._name_of: dict[int, str] = {}
        self._kept: list[Tensor] = []  # so that no address is used twice
        for name, keys in keys_to.items():
            node: dict[str, Any] = self
            for key in keys[:-1]:
                inner = node.setdefault(key, {})
                if not isinstance(inner, dict):
                    raise FormatError(f"{weights}: {key} is a value and a table in it")
                node = inner
            node[keys[-1]] = self._stand_in(name) if name in weights else None

    def _stand_in(self, name: str) -> Tensor:
        spec = self._weights.specs[name]
        one = torch.empty((1,) * len(spec.shape), dtype=spec.dtype)
        self._kept.append(one)
        self._name_of[one.untyped_storage().data_ptr()] = name
        return one.expand(spec.shape)

    def read(self, stand_ins: Mapping[str, Tensor]) -> LazyWeights:
        """The tensors that are stood in for, under the same names; each is read on access."""
        names = {n: self._name_of[t.untyped_storage().data_ptr()] for n, t in stand_ins.items()}
        return _Renamed(self._weights, names)


class _Renamed(LazyWeights):
    """Some tensors of a checkpoint, under other names."""

    def __init__(self, weights: LazyWeights, names: Mapping[str, str]) -> None:
        self._weights, self._names = weights, names
        self.specs = {new: weights.specs[old]._replace(tied=new) for new, old in names.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self._weights[self._names[name]]

    def __str__(self) -> str:
        return str(self._weights)
