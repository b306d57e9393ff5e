"""What a LoRA adapter adds to one weight: s B A, whatever the kind of layer; with DoRA's lengths.

Hu et al., "LoRA: low-rank adaptation of large language models", ICLR 2022 (arXiv 2106.09685);
Liu et al., "DoRA: weight-decomposed low-rank adaptation", ICML 2024 (arXiv 2402.09353):

    W' = W + s B A          DoRA: W' = m (W + s B A) / ||W + s B A||, by output of the layer

A weight is read in blocks of whole rows. Sums run over the rank, number by number in float64, so
that each number is the same whatever the block it is computed in.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from soup.weights.mapping import Reader

BLOCK = 1 << 16  # numbers of a weight that are computed at once, in whole rows


@dataclass(frozen=True)
class LowRank:
    """The change of one weight, of shape (rows, columns) once the weight is flattened after axis 0.

    Attributes:
        left, right: float64, (rows, rank) and (rank, columns); the change is left @ right.
        magnitude: DoRA's learned lengths, float64, one for each row or each column; None for LoRA.
        by_column: whether the lengths are those of columns.
    """

    left: Tensor
    right: Tensor
    magnitude: Tensor | None = None
    by_column: bool = False

    @property
    def columns(self) -> int:
        return self.right.shape[1]

    def rows(self, first: int, last: int) -> Tensor:
        """The rows from `first` to `last` of the change, float64."""
        left = self.left[first:last]
        total = left.new_zeros(len(left), self.columns)
        term = torch.empty_like(total)
        for rank in range(len(self.right)):
            torch.mul(left[:, rank : rank + 1], self.right[rank], out=term)
            total.add_(term)
        return total


class Changed:
    """A weight with its change: reads parts of it, in float64."""

    def __init__(self, base: Reader, change: LowRank, lengths: Tensor | None = None) -> None:
        """
        Args:
            base: reads the weight.
            change: of the weight.
            lengths: those of its rows or columns once it is changed, if they are known; only for
                DoRA, which divides by them.
        """
        self._base, self._change = base, change
        self._factor: Tensor | None = None
        if change.magnitude is not None:
            self.lengths = self._measured() if lengths is None else lengths
            self._factor = change.magnitude / self.lengths

    def __call__(self, first: int, last: int) -> Tensor:
        """The numbers from `first` to `last` (exclusive) of the flattened weight."""
        columns = self._change.columns
        top = first // columns
        block = self._rows(top, -(-last // columns))
        if self._factor is not None:
            by_column = self._change.by_column
            block *= self._factor if by_column else self._factor[top : top + len(block), None]
        return block.view(-1)[first - top * columns : last - top * columns]

    def _rows(self, first: int, last: int) -> Tensor:
        columns = self._change.columns
        base = self._base(first * columns, last * columns).to(torch.float64).view(-1, columns)
        return self._change.rows(first, last).add_(base)

    def _measured(self) -> Tensor:
        """The lengths of the rows or columns of the changed weight."""
        rows, columns = len(self._change.left), self._change.columns
        step = max(1, BLOCK // max(1, columns))
        total = torch.zeros(columns, dtype=torch.float64)
        of_rows = [total[:0]]
        for first in range(0, rows, step):
            squares = self._rows(first, min(rows, first + step)).square_()
            if self._change.by_column:
                total += squares.sum(0)
            else:
                of_rows.append(squares.sum(1))
        return (total if self._change.by_column else torch.cat(of_rows)).sqrt()
