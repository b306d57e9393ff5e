"""Mix the same K models again and again with changing shares, as each step of a learned soup does.

Each tensor of all K models forms a matrix (K, numbers). It is kept on the device in the models'
dtype while memory allows; other tensors are read from the models on every use. Both go through the
same arithmetic, so that a limit on memory changes a result by rounding alone. On a CPU, blocks of
columns are dealt to threads; results do not depend on how many there are.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from soup.threads import available, dealt
from soup.weights.kinds import averaged
from soup.weights.mapping import Reader, Weights, read_into, reader, specs
from soup.weights.merged import prepare
from soup.weights.numbers import count, numbers, shaped

# Numbers of a block, of all models together: what is read or converted to float32 at a time.
BLOCK = 1 << 20
BLOCK_ON_GPU = 1 << 24
S = TypeVar("S")
T = TypeVar("T")


class Block(NamedTuple):
    """Columns of a tensor's matrix.

    Attributes:
        readers: of the tensor in each model; none if the matrix is held.
    """

    name: str
    columns: slice
    readers: Sequence[Reader]


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
        dtypes: dict[str, torch.dtype] = {}
        specs_of_models = [specs(model) for model in models]
        for name, spec in self.specs.items():
            if name in self._buffers or spec.tied != name:
                continue
            exact = [_exact(tensors[name].dtype) for tensors in specs_of_models]
            dtype = reduce(torch.promote_types, exact)
            size = len(models) * count(spec.shape, spec.dtype) * dtype.itemsize
            if self.held_bytes + size <= memory:
                dtypes[name] = dtype
                self.held_bytes += size
        for name, dtype in dtypes.items():
            shape = len(models), count(self.specs[name].shape, self.specs[name].dtype)
            self._matrices[name] = torch.empty(shape, dtype=dtype, device=self._device)
        for _ in self._in_threads(self._read, range(len(models))):
            pass
        for name, (first, *others) in self._matrices.items():
            if first.isinf().any() and all(torch.equal(first, other) for other in others):
                # A mask, which no share changes: 0 * inf would be NaN.
                self._buffers[name] = shaped(first, self.specs[name].shape, self.specs[name].dtype)

    def _read(self, row: int) -> None:
        """Read a model into its rows of the matrices."""
        for name, matrix in self._matrices.items():
            read_into(matrix[row], self._models[row], name)

    def mix(self, shares: Mapping[str, Tensor], out: Weights | None = None) -> dict[str, Tensor]:
        """Return sum_i share_i * theta_i on the device, in float32 or wider; ties are kept.

        Args:
            shares: for each floating-point tensor the share of each model, shape (K,).
            out: tensors to write the sums to, in place of new ones, where name, shape, dtype and
                device are the same.
        """
        mixed: dict[str, Tensor] = {}
        flat: dict[str, Tensor] = {}
        for name, spec in self.specs.items():
            if name in self._buffers:
                mixed[name] = self._buffers[name]
            elif spec.tied in mixed:
                mixed[name] = mixed[spec.tied]
            else:
                mixed[name], flat[name] = self._target(name, (out or {}).get(name))
        factors = {name: shares[name].to(self._device, total.dtype) for name, total in flat.items()}

        def add(block: Block) -> None:
            sums = flat[block.name][block.columns]
            torch.mv(self._part(block).T, factors[block.name], out=sums)

        for _ in self._in_threads(add, self._blocks(flat)):
            pass
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
        flat = {
            name: numbers(gradient).to(self._device, self._wide(name))
            for name, gradient in total.items()
            if name not in self._buffers
        }
        shape = len(total), len(self._models)
        products = torch.zeros(shape, dtype=torch.float64, device=self._device)
        rows = dict(zip(total, products, strict=True))

        def multiply(block: Block) -> tuple[str, Tensor]:
            return block.name, torch.mv(self._part(block), flat[block.name][block.columns])

        for name, found in self._in_threads(multiply, self._blocks(flat)):
            rows[name] += found
        return dict(zip(total, products.cpu(), strict=True))

    def _target(self, name: str, given: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return where the sums of a tensor are written, and its numbers, flat."""
        stored, shape, _ = self.specs[name]
        like = torch.empty(0, dtype=self._wide(name), device=self._device)
        if (
            given is not None
            and (given.dtype, given.device, [*given.shape]) == (like.dtype, like.device, [*shape])
            and given.is_contiguous()
        ):
            return given, numbers(given)
        flat = like.new_empty(count(shape, stored))
        return shaped(flat, shape, stored), flat

    def _in_threads(self, compute: Callable[[T], S], parts: Iterable[T]) -> Iterable[S]:
        """Return what is computed of each part, in their order; on a CPU in several threads."""
        on_cpu = self._device.type == "cpu"
        return dealt(compute, parts, available()) if on_cpu else map(compute, parts)

    def _blocks(self, names: Iterable[str]) -> Iterator[Block]:
        most = BLOCK if self._device.type == "cpu" else BLOCK_ON_GPU
        width = max(1, most // len(self._models))
        for name in names:
            size = count(self.specs[name].shape, self.specs[name].dtype)
            held = name in self._matrices
            # Some models have a tensor in memory as long as its reader is there.
            readers = [] if held else [reader(model, name) for model in self._models]
            for start in range(0, size, width):
                yield Block(name, slice(start, min(start + width, size)), readers)

    def _part(self, block: Block) -> Tensor:
        """Return columns of a tensor's matrix, in float32 or wider."""
        name, columns, readers = block
        if name in self._matrices:
            return self._matrices[name][:, columns].to(self._wide(name))
        shape = len(self._models), columns.stop - columns.start
        part = torch.empty(shape, dtype=self._wide(name), device=self._device)
        for row, read in zip(part, readers, strict=True):
            row.copy_(read(columns.start, columns.stop))
        return part

    def _wide(self, name: str) -> torch.dtype:
        return torch.promote_types(_exact(self.specs[name].dtype), torch.float32)


def _exact(dtype: torch.dtype) -> torch.dtype:
    """Return a real dtype that holds the numbers exactly, and which torch can promote."""
    return torch.bfloat16 if dtype.itemsize == 1 else dtype.to_real()
