"""Models mixed over and over with changing shares: what a learned soup does at every step.

Each tensor of all K models is a matrix (K, numbers), held on the device in its own dtype as long as
memory allows, and otherwise read from the models a row at a time, on every use. Both go through the
same arithmetic, so that a limit on memory changes a result by rounding alone.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor

from soup.weights.mapping import Weights, merged_specs, specs

# Half precision is widened a block of this many columns at a time, never a whole matrix.
COLUMNS = 1 << 18


class Mixer:
    """K models that can be added up, and asked for inner products, again and again.

    Attributes:
        specs: of the mixed weights.
        held: bytes of the models' tensors that are kept on the device.
    """

    def __init__(
        self,
        models: Sequence[Weights],
        device: torch.device | str = "cpu",
        memory: float = math.inf,
    ) -> None:
        """
        Args:
            models: dictionaries, or `Checkpoint`s over files.
            device: where matrices are held and results stand.
            memory: bytes of tensors to hold; what does not fit is read anew for every use.

        Raises:
            ValueError: there are no models.
            Incompatible: names, shapes or kinds of dtype differ.
        """
        self.specs = merged_specs(models)
        self.held = 0
        self._models = models
        self._device = torch.device(device)
        self._matrices: dict[str, Tensor] = {}
        self._buffers = {
            name: models[0][name].to(self._device, copy=True)
            for name, spec in self.specs.items()
            if not spec.dtype.is_floating_point
        }
        every = [specs(model) for model in models]
        for name, spec in self.specs.items():
            if name in self._buffers or spec.tied != name:
                continue
            dtype = reduce(torch.promote_types, [each[name].dtype for each in every])
            size = len(models) * math.prod(spec.shape) * dtype.itemsize
            if self.held + size <= memory:
                self._matrices[name] = self._matrix(name, dtype)
                self.held += size

    def mix(self, shares: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """sum_i share_i * theta_i, at least in float32, on the device; ties are kept.

        Args:
            shares: for each floating-point tensor its share of each model, (K,).
        """
        mixed: dict[str, Tensor] = {}
        for name, spec in self.specs.items():
            if name in self._buffers:
                mixed[name] = self._buffers[name]
            elif spec.tied in mixed:
                mixed[name] = mixed[spec.tied]
            else:
                mixed[name] = self._sum(name, shares[name])
        return mixed

    def products(self, gradients: Weights) -> dict[str, Tensor]:
        """<gradient, theta_i> of each model, tensor by tensor; float64 (K,) on the CPU.

        Gradients of tied tensors are added up first; a tensor without a gradient has no products.
        """
        total: dict[str, Tensor] = {}
        for name, gradient in gradients.items():
            once = self.specs[name].tied
            total[once] = total[once] + gradient if once in total else gradient
        found = torch.zeros(len(total), len(self._models), dtype=torch.float64, device=self._device)
        for products, (name, gradient) in zip(found, total.items(), strict=True):
            flat = gradient.reshape(-1).to(self._device, self._wide(name))
            for rows, at, block in self._blocks(name):
                products[rows] += torch.mv(block, flat[at])
        return dict(zip(total, found.cpu(), strict=True))

    def _sum(self, name: str, share: Tensor) -> Tensor:
        dtype = self._wide(name)
        mixed = torch.zeros(self.specs[name].shape, dtype=dtype, device=self._device)
        flat, share = mixed.view(-1), share.to(self._device, dtype)
        for rows, at, block in self._blocks(name):
            flat[at].addmv_(block.T, share[rows])
        return mixed

    def _blocks(self, name: str) -> Iterator[tuple[slice, slice, Tensor]]:
        """A tensor of all models in pieces: which models, which numbers, and these."""
        parts: Iterable[tuple[slice, Tensor]] = (
            [(slice(None), self._matrices[name])]
            if name in self._matrices
            else ((slice(i, i + 1), self._row(i, name)) for i in range(len(self._models)))
        )
        for rows, part in parts:
            for start in range(0, part.shape[1], COLUMNS):
                at = slice(start, start + COLUMNS)
                yield rows, at, part[:, at].to(self._wide(name))

    def _matrix(self, name: str, dtype: torch.dtype) -> Tensor:
        size = len(self._models), math.prod(self.specs[name].shape)
        matrix = torch.empty(size, dtype=dtype, device=self._device)
        for index in range(len(self._models)):
            matrix[index] = self._row(index, name)
        return matrix

    def _row(self, index: int, name: str) -> Tensor:
        return self._models[index][name].reshape(1, -1).to(self._device)

    def _wide(self, name: str) -> torch.dtype:
        return torch.promote_types(self.specs[name].dtype, torch.float32)
