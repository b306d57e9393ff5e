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

from soup.weights.kinds import averaged
from soup.weights.mapping import Weights, specs
from soup.weights.merged import prepare
from soup.weights.numbers import count, numbers, shaped

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
        self._models, self.specs = prepare(models)
        models = self._models
        self.held_bytes = 0
        self._device = torch.device(device)
        self._matrices: dict[str, Tensor] = {}
        self._buffers = {
            name: models[0][name].detach().to(self._device, copy=True)
            for name, spec in self.specs.items()
            if not averaged(spec.dtype)
        }
        specs_of_models = [specs(model) for model in models]
        for name, spec in self.specs.items():
            if name in self._buffers or spec.tied != name:
                continue
            dtypes = [_exact(tensors[name].dtype) for tensors in specs_of_models]
            dtype = reduce(torch.promote_types, dtypes)
            shape = len(models), count(spec.shape, spec.dtype)
            size = math.prod(shape) * dtype.itemsize
            if self.held_bytes + size <= memory:
                self._matrices[name] = torch.empty(shape, dtype=dtype, device=self._device)
                for index, row in enumerate(self._matrices[name]):
                    row.copy_(self._row(index, name)[0])
                first, *others = self._matrices[name]
                if first.isinf().any() and all(torch.equal(first, other) for other in others):
                    # A mask, which no share changes: 0 * inf would be NaN.
                    self._buffers[name] = shaped(first, spec.shape, spec.dtype)
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
            if name in self._buffers:
                continue
            flat = numbers(gradient).to(self._device, self._wide(name))
            for models, columns, block in self._blocks(name):
                row[models] += torch.mv(block, flat[columns])
        return dict(zip(total, products.cpu(), strict=True))

    def _sum(self, name: str, share: Tensor) -> Tensor:
        dtype, (stored, shape, _) = self._wide(name), self.specs[name]
        mixed = torch.zeros(count(shape, stored), dtype=dtype, device=self._device)
        share = share.to(self._device, dtype)
        for models, columns, block in self._blocks(name):
            mixed[columns].addmv_(block.T, share[models])
        return shaped(mixed, shape, stored)

    def _blocks(self, name: str) -> Iterator[tuple[slice, slice, Tensor]]:
        """Yield blocks of a tensor's matrix: rows (models), columns (numbers) and the block."""
        parts: Iterable[tuple[slice, Tensor]] = (
            [(slice(None), self._matrices[name])]
            if name in self._matrices
            else ((slice(i, i + 1), self._row(i, name)) for i in range(len(self._models)))
        )
        for models, part in parts:
            for start in range(0, part.shape[1], COLUMNS):
                columns = slice(start, start + COLUMNS)
                yield models, columns, part[:, columns].to(self._wide(name))

    def _row(self, index: int, name: str) -> Tensor:
        return numbers(self._models[index][name])[None].to(self._device)

    def _wide(self, name: str) -> torch.dtype:
        return torch.promote_types(_exact(self.specs[name].dtype), torch.float32)


def _exact(dtype: torch.dtype) -> torch.dtype:
    """Return a real dtype that holds the numbers exactly, and which torch can promote."""
    return torch.bfloat16 if dtype.itemsize == 1 else dtype.to_real()
