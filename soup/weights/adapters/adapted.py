"""A base with an adapter, as one model whose weights are computed when they are read."""

import hashlib
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from soup.errors import some
from soup.weights.adapters.change import Changed, LowRank
from soup.weights.adapters.folder import Adapter
from soup.weights.checkpoint import Checkpoint
from soup.weights.digesting import of_shards
from soup.weights.mapping import Incompatible, Reader, Spec, read_parts
from soup.weights.numbers import rounded, shaped


class Adapted(Checkpoint):
    """The model that a base and an adapter stand for.

    A changed weight is read in float64, as it is before it is rounded: sums of such models are
    exact to one rounding. `self[name]` is rounded once, to the dtype of the base.

    Attributes:
        adapter: the adapter.
        base: the base.
        prefix: what stands before the base's names in the model that the adapter was trained in.
    """

    def __init__(self, adapter: Adapter, base: Checkpoint, base_digest: str = "") -> None:
        """
        Args:
            adapter: the adapter.
            base: the model that it was trained on.
            base_digest: the base's `digest()`, if it is known: a file of gigabytes is hashed once.

        Raises:
            Incompatible: the base has no such weights, or of other shapes; all are named.
        """
        self.adapter, self.base, self._base_digest = adapter, base, base_digest
        self.path = adapter.path
        # What the base's file says of its score or its making is not true of this model.
        self.metadata = {k: v for k, v in base.metadata.items() if k == "architecture"}
        self.files = [*base.files, *adapter.files]
        self.prefix, outer = self._names()
        self._base_name = {f"{self.prefix}{name}": name for name in base}
        self._whole = {
            outer + name if outer + name in self._base_name else name: of
            for name, of in adapter.whole.items()
        }
        self.specs = self._specs()
        self._modules: dict[str, str] = {}
        self._lengths: dict[str, Tensor] = {}
        problems = []
        for module in adapter.factors:
            name = outer + module + ".weight"
            stored = self.specs[name].tied
            if stored in self._modules:
                problems.append(f"{name} is tied to another weight that the adapter changes too")
                continue
            self._modules[stored] = module
            try:
                self.change(stored)
            except ValueError as error:
                problems.append(f"{name} {error}")
        if problems:
            raise Incompatible(
                f"{adapter.path} does not fit {base}:\n  " + some(problems, 8, "\n  ")
            )

    def _names(self) -> tuple[str, str]:
        """What the adapter's model has before the base's names, and before the adapter's modules.

        A published encoder has no prefix (`encoder.layer.0`) where a classifier made of it has one
        (`bert.encoder.layer.0`), and the other way round.
        """
        targets = [f"{module}.weight" for module in self.adapter.factors]
        names = set(self.base)
        first = {target.partition(".")[0] + "." for target in targets}
        outer = ["", *sorted({name.partition(".")[0] + "." for name in names if "." in name})]
        for prefix in outer:  # as the base has them, or without the base's prefix
            if all(prefix + target in names for target in targets):
                return "", prefix
        if len(first) == 1:
            prefix = next(iter(first))
            if all(target.removeprefix(prefix) in names for target in targets):
                return prefix, ""
        lacks = [target for target in targets if target not in names]
        raise Incompatible(
            f"{self.path} does not fit {self.base}, which lacks {some(lacks, 5)}: give the base "
            "that the adapter was trained on"
            + (f" ({self.adapter.config.base})" if self.adapter.config.base else "")
        )

    def _specs(self) -> dict[str, Spec]:
        """The tensors of the model; one that the adapter replaces is no longer tied to others."""
        tensors: dict[str, Spec] = {}
        kept: dict[str, str] = {}
        for name, of_base in self._base_name.items():
            if name not in self._whole:
                spec = self.base.specs[of_base]
                tensors[name] = spec._replace(tied=kept.setdefault(spec.tied, name))
        for name, in_file in self._whole.items():
            tensors[name] = self.adapter.file.specs[in_file]._replace(tied=name)
        return dict(sorted(tensors.items()))

    @property
    def whole(self) -> Mapping[str, str]:
        """The name in the adapter's file of each tensor that it replaces, by the tensor's name."""
        return self._whole

    @property
    def changed(self) -> Mapping[str, str]:
        """The module of each weight that has a change, by the weight's name."""
        return self._modules

    def change(self, name: str) -> LowRank:
        """The change of a weight that has one.

        Raises:
            ValueError: shapes differ.
        """
        module, spec = self._modules[name], self.specs[name]
        factors = self.adapter.factors[module]
        scaling = self.adapter.config.scaling(module)
        a, b = factors.a.to(torch.float64), factors.b.to(torch.float64)
        shapes = f"is {spec.shape}; A is {tuple(a.shape)} and B {tuple(b.shape)}"
        if not spec.dtype.is_floating_point:
            raise ValueError(f"is {spec.dtype}, and has no sum with a change")
        inner, out = tuple(a.shape[1:]), b.shape[0]
        if any(size != 1 for size in b.shape[2:]) or len(spec.shape) != a.ndim:
            raise ValueError(shapes)
        a, b = a.flatten(1), b.flatten(1) * scaling
        transposed = factors.embedding or self._transposed(inner, out, spec.shape)
        if tuple(spec.shape) != ((*inner, out) if transposed else (out, *inner)):
            raise ValueError(shapes)
        magnitude = None
        if factors.magnitude is not None:
            magnitude = factors.magnitude.to(torch.float64).flatten()
            if len(magnitude) != out:
                raise ValueError(f"has {len(magnitude)} magnitudes for {out} outputs")
        left, right = (a.T, b.T) if transposed else (b, a)
        return LowRank(left.contiguous(), right.contiguous(), magnitude, transposed)

    def _transposed(self, inner: tuple[int, ...], out: int, shape: tuple[int, ...]) -> bool:
        """Whether a layer holds its weight as (in, out), by its shape, else by the settings."""
        if len(inner) == 1 and inner[0] != out:
            return shape == (*inner, out)
        return len(inner) == 1 and self.adapter.config.transposed

    def __getitem__(self, name: str) -> Tensor:
        spec = self.specs[name]
        if spec.tied not in self._modules:
            return self._unchanged(spec.tied)
        flat = self.reader(name)(0, math.prod(spec.shape))
        return shaped(rounded(flat, spec.dtype), spec.shape, spec.dtype)

    def _unchanged(self, name: str) -> Tensor:
        if name in self._whole:
            return self.adapter.file[self._whole[name]]
        return self.base[self._base_name[name]]

    def _unchanged_reader(self, name: str) -> Reader:
        if name in self._whole:
            return self.adapter.file.reader(self._whole[name])
        return self.base.reader(self._base_name[name])

    def reader(self, name: str) -> Reader:
        stored = self.specs[name].tied
        unchanged = self._unchanged_reader(stored)
        if stored not in self._modules:
            return unchanged
        changed = Changed(unchanged, self.change(stored), self._lengths.get(stored))
        if self.adapter.config.dora:
            self._lengths[stored] = changed.lengths
        return changed

    def read_into(self, out: Tensor, name: str) -> None:
        read_parts(out, self.reader(name))

    def digest(self) -> str:
        """The SHA-256 of the digests of base and adapter, as `sha256sum` would list them."""
        self._base_digest = self._base_digest or self.base.digest()
        parts = {"base": self._base_digest, "adapter": of_shards(self.adapter.files)}
        self.require_unchanged()
        lines = (f"{digest}  {part}\n" for part, digest in parts.items())
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def require_unchanged(self) -> None:
        self.base.require_unchanged()
        self.adapter.file.require_unchanged()
