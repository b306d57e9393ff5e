"""Normalised directions from a centre to m models, read again for each use or held as matrices.

In memory are the centre and a block of numbers of each model, whatever m and the size of a model;
and, where memory is given for it, the differences of the models from the centre.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from soup.weights.mapping import LazyWeights, Spec, Weights, reader
from soup.weights.numbers import numbers, shaped
from soup.weights.streaming_sum import raise_not_finite

COLUMNS = 1 << 16  # numbers of each model that are in memory at a time


class Directions:
    """P_i = (theta_i - centre) / norm, for each tensor with a norm of its own.

    Attributes:
        norms: of theta_i - centre by tensor name, float64 of shape (m,) on the CPU.
    """

    def __init__(
        self,
        models: Sequence[Weights],
        centre: Mapping[str, Tensor],
        specs: Mapping[str, Spec],
        memory: float = 0.0,
    ) -> None:
        """
        Args:
            models: of the same tensor names and shapes, checked.
            centre: the numbers of each tensor that has directions, flat, in float32 or float64.
            specs: of the result.
            memory: bytes of differences (m, numbers) to hold on the centre's device; those of the
                other tensors are computed from the models for each use.

        Raises:
            NotFinite: a tensor of a model holds NaN, or infinite numbers that the centre does not.
        """
        self._models, self._centre, self._specs = models, centre, specs
        # A mask's infinity stays: the models do not differ where the centre is infinite.
        self._masked = {name for name, flat in centre.items() if bool(flat.isinf().any())}
        self._held: dict[str, Tensor] = {}
        for name, flat in centre.items():
            size = len(models) * flat.nbytes
            if size <= memory:
                self._held[name] = flat.new_empty(len(models), len(flat))
                for columns, block in self._computed(name):
                    self._held[name][:, columns] = block
                memory -= size
        self.norms = {name: self._norms(name) for name in centre}

    def point(self, steps: Mapping[str, Tensor]) -> "Point":
        """Return centre + sum_i step_i P_i, whose tensors are computed when they are read.

        Args:
            steps: for each tensor of the centre (m,).
        """
        return Point(self, steps)

    def products(self, gradients: Weights) -> dict[str, Tensor]:
        """Return the inner product <gradient, P_i> of each tensor, float64 (m,) on the CPU.

        Args:
            gradients: by tensor name; those of tied tensors are added up. Others than those of the
                centre's tensors are left out.
        """
        found: dict[str, Tensor] = {}
        for name, gradient in gradients.items():
            stored = self._specs[name].tied
            if stored not in self._centre:
                continue
            flat = numbers(gradient).to(self._centre[stored])
            total = torch.zeros(len(self._models), dtype=torch.float64, device=flat.device)
            for columns, block in self._blocks(stored):
                part = flat[columns]
                if stored in self._masked:
                    part = part.masked_fill(self._centre[stored][columns].isinf(), 0.0)
                total += torch.mv(block, part)
            product = total.cpu() * reciprocal(self.norms[stored])
            found[stored] = found[stored] + product if stored in found else product
        return found

    def moved(self, name: str, step: Tensor) -> Tensor:
        """Return the numbers of a tensor at a point, flat."""
        centre = self._centre[name]
        factors = (step * reciprocal(self.norms[name])).to(centre)
        if not bool(factors.any()):
            return centre.clone()
        total = torch.empty_like(centre)
        for columns, block in self._blocks(name):
            total[columns] = torch.addmv(centre[columns], block.T, factors)
        return total

    def _norms(self, name: str) -> Tensor:
        total = torch.zeros(len(self._models), dtype=torch.float64)
        for _, block in self._blocks(name):
            total += block.double().square().sum(dim=1).cpu()
        if not bool(total.isfinite().all()):
            raise_not_finite(name, self._models, self._specs[name].dtype.to_real())
        return total.sqrt()

    def _blocks(self, name: str) -> Iterator[tuple[slice, Tensor]]:
        """Yield the columns and the differences from the centre there, (m, columns)."""
        if name not in self._held:
            yield from self._computed(name)
            return
        matrix = self._held[name]
        width = COLUMNS if matrix.device.type == "cpu" else matrix.shape[1]
        for start in range(0, matrix.shape[1], max(1, width)):
            columns = slice(start, min(start + width, matrix.shape[1]))
            yield columns, matrix[:, columns]

    def _computed(self, name: str) -> Iterator[tuple[slice, Tensor]]:
        centre = self._centre[name]
        readers = [reader(model, name) for model in self._models]
        for start in range(0, len(centre), COLUMNS):
            columns = slice(start, min(start + COLUMNS, len(centre)))
            block = centre.new_empty(len(readers), columns.stop - columns.start)
            for row, read in zip(block, readers, strict=True):
                row.copy_(read(columns.start, columns.stop))
            block -= centre[columns]
            if name in self._masked:
                block.masked_fill_(centre[columns].isinf() & block.isnan(), 0.0)
            yield columns, block


class Point(LazyWeights):
    """Weights some way from the centre; tensors without directions are the first model's."""

    def __init__(self, directions: Directions, steps: Mapping[str, Tensor]) -> None:
        self._directions, self._steps = directions, steps
        self.specs = directions._specs

    def __getitem__(self, name: str) -> Tensor:
        spec = self.specs[name]
        if spec.tied not in self._steps:
            return self._directions._models[0][name].detach()
        flat = self._directions.moved(spec.tied, self._steps[spec.tied])
        return shaped(flat, spec.shape, spec.dtype)


def reciprocal(norms: Tensor) -> Tensor:
    """Return 1 / norm, and 0 for a model that does not differ from the centre."""
    return torch.where(norms > 0, 1 / norms, 0.0)
