"""Mix the same K models again and again with changing shares, as each step of a learned soup does.

Each tensor of all K models forms a matrix (K, numbers). It is kept on the device in the models'
dtype while memory allows; other tensors are read from the models, row by row, on every use. Both
go through the same arithmetic, so that a limit on memory changes a result by rounding alone.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor

from soup.weights.mapping import Weights, merged_specs, specs

# Half precision is converted to float32 in blocks of this many columns, never a whole matrix.
COLUMNS = 1 << 18


class Mixer:
    """K models, to be summed with changing shares and multiplied with gradients.

    Attributes:
        specs: dtype, shape and ties of the mixed weights.
        held_bytes: size of the models' tensors that are kept on the device.
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
            device: holds the matrices and the results.
            memory: bytes of tensors to keep there; the others are read again for every use.

        Raises:
            ValueError: there are no models.
            Incompatible: names, shapes or kinds of dtype differ.
        """
        self.specs = merged_specs(models)
        self.held_bytes = 0
        self._models = models
        self._device = torch.device(device)
        self._matrices: dict[str, Tensor] = {}
        self._buffers = {
            name: models[0][name].to(self._device, copy=True)
            for name, spec in self.specs.items()
            if not spec.dtype.is_floating_point
        }
        specs_of_models = [specs(model) for model in models]
        for name, spec in self.specs.items():
            if name in self._buffers or spec.tied != name:
                continue
            dtypes = [tensors[name].dtype for tensors in specs_of_models]
            dtype = reduce(torch.promote_types, dtypes)
            size = len(models) * math.prod(spec.shape) * dtype.itemsize
            if self.held_bytes + size <= memory:
                shape = len(models), math.prod(spec.shape)
                self._matrices[name] = torch.empty(shape, dtype=dtype, device=self._device)
                for index, row in enumerate(self._matrices[name]):
                    row.copy_(self._row(index, name)[0])
                self.held_bytes += size

    def mix(self, shares: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return sum_i share_i * theta_i on the device, in float32 or wider; ties are kept.

        Args:
            shares: for each floating-point tensor the share of each model, shape (K,).
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
        """Compute the inner product <gradient, theta_i> of each tensor with that of each model.

        Args:
            gradients: by tensor name; those of tied tensors are summed first.

        Returns:
            For each tensor with a gradient its products, float64 of shape (K,) on the CPU.
        """
        total: dict[str, Tensor] = {}
        for name, gradient in gradients.items():
            stored = self.specs[name].tied
            total[stored] = total[stored] + gradient if stored in total else gradient
        shape = len(total), len(self._models)
        products = torch.zeros(shape, dtype=torch.float64, device=self._device)
        for row, (name, gradient) in zip(products, total.items(), strict=True):
            flat = gradient.reshape(-1).to(self._device, self._wide(name))
            for models, numbers, block in self._blocks(name):
                row[models] += torch.mv(block, flat[numbers])
        return dict(zip(total, products.cpu(), strict=True))

    def _sum(self, name: str, share: Tensor) -> Tensor:
        dtype = self._wide(name)
        mixed = torch.zeros(self.specs[name].shape, dtype=dtype, device=self._device)
        flat, share = mixed.view(-1), share.to(self._device, dtype)
        for models, numbers, block in self._blocks(name):
            flat[numbers].addmv_(block.T, share[models])
        return mixed

    def _blocks(self, name: str) -> Iterator[tuple[slice, slice, Tensor]]:
        """Yield blocks of a tensor's matrix: rows (models), columns (numbers) and the block."""
        parts: Iterable[tuple[slice, Tensor]] = (
            [(slice(None), self._matrices[name])]
            if name in self._matrices
            else ((slice(i, i + 1), self._row(i, name)) for i in range(len(self._models)))
        )
        for models, part in parts:
            for start in range(0, part.shape[1], COLUMNS):
                numbers = slice(start, start + COLUMNS)
                yield models, numbers, part[:, numbers].to(self._wide(name))

    def _row(self, index: int, name: str) -> Tensor:
        return self._models[index][name].reshape(1, -1).to(self._device)

    def _wide(self, name: str) -> torch.dtype:
        return torch.promote_types(self.specs[name].dtype, torch.float32)
