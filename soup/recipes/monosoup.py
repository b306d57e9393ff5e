"""MonoSoup: of the change from the base, damp the directions that matter less, tensor by tensor.

Abdollahpoorrostam et al., "MonoSoup", 2026 (arXiv 2602.09689). Of each tensor of two or more
dimensions, as a matrix (out, rest), D = theta - theta_base = U S V':

    p = s / sum s,  k = ceil(exp(- sum p log p))            hyperparameter-free: spectral entropy,
    or the smallest k with sum_{i<=k} s_i^2 >= R sum s_i^2  given R, the share of the energy;
    P = sum_{i<=k} s_i^2 / sum s_i^2,  rho = (s_{k+1} / s_1)^2 (0 where k is all),
    l_low = rho + (1 - rho) sqrt(1 - P),  l_high = 1 - l_low,
    theta = theta_base + l_high D_high + l_low D_low,  D_high of the first k singular values.

Other tensors, and those with norm(D) < 1e-6 norm(theta_base), are the fine-tuned model's.

The control that the paper lacks: shrinking each D by one number, to the norm that MonoSoup leaves.
With a judge the trace has its errors beside MonoSoup's; `shrink="norm"` makes it.

Our decisions: theta is the mean of the ingredients, one or many, or (`of="best"`) the best single
model on held-out, as in the paper; alpha makes the result the end of a WiSE-FT line: theta_base +
alpha (theta - theta_base). S and U are those of the smaller Gram
matrix of D, by which singular values below 1e-8 s_1 count as 0. Where exp of the entropy is an
integer but for rounding, k is this integer.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from soup.recipes.blending import mean, soup_of_all, weights_of
from soup.recipes.ingredient import Ingredient, Soup, Trial, Unusable
from soup.recipes.judge import Judge
from soup.recipes.ranking import ranked
from soup.weights import Weights
from soup.weights.merged import Merged, materialize_if_eager
from soup.weights.numbers import fitted, numbers, shared_infinities
from soup.weights.streaming_sum import raise_not_finite

SMALLEST_CHANGE = 1e-6  # of the base's norm
ROUNDING = 1e-9  # of exp(entropy) and of shares of energy

Shrink = Literal["spectral", "norm"]
Of = Literal["all", "best"]


def monosoup(
    ingredients: Sequence[Ingredient],
    base: Weights,
    judge: Judge | None = None,
    energy: float | None = None,
    shrink: Shrink = "spectral",
    alpha: float = 1.0,
    of: Of = "all",
) -> Soup:
    """Damp the weak directions of the change from the base: robustness from a single model.

    Args:
        ingredients: one model, or several whose mean is taken.
        base: the weights that all ingredients were fine-tuned from.
        judge: counts the errors of the result and of the control.
        energy: R, the share of the squared singular values that is not damped; None chooses the
            number of directions by spectral entropy.
        shrink: "norm" makes the control: each tensor's change by one number, to the same norm.
        alpha: position on the line from the base (0) to the result (1).
        of: the mean of all ingredients, or the best of them on held-out.

    Raises:
        Unusable: there are no ingredients, two have the same name, an option is out of range, or
            the best is asked for where none was scored.
        Incompatible: names or shapes differ among the ingredients and the base.
        NotFinite: a tensor holds NaN or infinite numbers (raised when it is computed).
    """
    if of not in ("all", "best"):
        raise Unusable(f"unknown of {of!r}; known: all, best")
    if of == "best":
        ingredients = ranked(ingredients)[:1]
    models = weights_of(ingredients)
    if energy is not None and not 0 < energy <= 1:
        raise Unusable(f"energy is the share to keep, above 0 to 1, not {energy}")
    if shrink not in ("spectral", "norm"):
        raise Unusable(f"unknown shrink {shrink!r}; known: spectral, norm (the control)")

    def merged(how: Shrink) -> Weights:
        merged = _Damped(models, base, energy, how, alpha)
        return materialize_if_eager(merged, [*models, base])

    if judge is None:
        return soup_of_all(ingredients, merged(shrink), judge)
    other: Shrink = "norm" if shrink == "spectral" else "spectral"
    labels = {"spectral": "monosoup", "norm": "control: one number a tensor, same norms"}
    beside = Trial(labels[other], judge(merged(other)), at_most=None, kept=False)
    # Judged last, as the caller takes the judge's last answers for those of the soup.
    soup = soup_of_all(ingredients, merged(shrink), judge)
    return replace(soup, trace=(beside, Trial(labels[shrink], soup.errors, None, kept=True)))


class _Damped(Merged):
    def __init__(
        self,
        models: Sequence[Weights],
        base: Weights,
        energy: float | None,
        shrink: Shrink,
        alpha: float,
    ) -> None:
        super().__init__([*models, base])
        self._energy, self._shrink, self._alpha = energy, shrink, alpha

    def _numbers(self, name: str, dtype: torch.dtype) -> Tensor:
        stored = [numbers(model[name]) for model in self._models]
        first, *others = stored
        if all(other.dtype == first.dtype and torch.equal(other, first) for other in others):
            values = first.to(torch.float64, copy=True)
        else:
            values = self._merged(name, stored, dtype)
        values, fits = fitted(values, dtype, lambda: iter(stored)) if len(first) else (values, True)
        if not fits:
            raise_not_finite(name, self._models, dtype)
        return values.to(dtype)

    def _merged(self, name: str, stored: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        *tuned, start = (tensor.to(stored[0].device, torch.float64) for tensor in stored)
        end = mean(tuned)
        change = end - start
        if not bool(change.isfinite().all()):
            _, shared = shared_infinities(stored)
            change = change.masked_fill(shared, 0.0)
            if not bool(change.isfinite().all()):
                raise_not_finite(name, self._models, dtype)
        return self._damped(name, start, end, change)

    def _damped(self, name: str, start: Tensor, end: Tensor, change: Tensor) -> Tensor:
        shape, kind = self.specs[name].shape, self.specs[name].dtype
        # Unlike start + t * change, lerp is exact at both ends.
        finite = start.masked_fill(start.isinf(), 0.0)  # without a mask's infinities
        if len(shape) < 2 or not float(change.norm()) > SMALLEST_CHANGE * float(finite.norm()):
            return torch.lerp(start, end, self._alpha)
        real = change.view(-1, 2) if kind.is_complex else change
        matrix = (torch.view_as_complex(real) if kind.is_complex else real).view(shape[0], -1)
        basis, squares = spectrum(matrix)
        k = count_by_entropy(squares) if self._energy is None else count_by(self._energy, squares)
        low, high = factors(squares, k)
        rest = float(squares[k:].sum() / squares.sum())
        if self._shrink == "norm":
            return torch.lerp(
                start, end, self._alpha * math.sqrt(high**2 * (1 - rest) + low**2 * rest)
            )
        if rest == 0:
            return torch.lerp(start, end, self._alpha * high)
        strong = basis[:, :k]
        wide = len(basis) != len(matrix)  # the basis is of the columns
        kept = matrix @ strong @ strong.mH if wide else strong @ (strong.mH @ matrix)
        damped = low * matrix + (high - low) * kept
        return start + self._alpha * numbers(damped)


def spectrum(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the singular vectors of the shorter side, as columns, and the squared values.

    Args:
        matrix: float64 or complex128 (rows, columns).

    Returns:
        Vectors (n, n), n = min(rows, columns), and squares (n,), both by decreasing square.
    """
    wide = matrix.shape[0] > matrix.shape[1]
    squares, vectors = torch.linalg.eigh(matrix.mH @ matrix if wide else matrix @ matrix.mH)
    squares, vectors = squares.flip(0), vectors.flip(1)
    least = squares[0] * len(squares) * torch.finfo(torch.float64).eps
    return vectors, torch.where(squares > least, squares, 0.0)


def count_by_entropy(squares: Tensor) -> int:
    """Return k = ceil(exp H), with H the entropy of the singular values, 1 to all of them."""
    values = squares.sqrt()
    shares = values / values.sum()
    entropy = float(torch.special.entr(shares).sum())
    return min(max(math.ceil(math.exp(entropy) - ROUNDING), 1), len(values))


def count_by(energy: float, squares: Tensor) -> int:
    """Return the smallest k whose squares are at least this share of all."""
    rest = squares.flip(0).cumsum(0).flip(0)  # from each on: exactly 0 after the last
    return int((rest[1:] > (1 - energy) * (1 + ROUNDING) * rest[0]).sum()) + 1


def factors(squares: Tensor, k: int) -> tuple[float, float]:
    """Return l_low and l_high of a tensor."""
    rest = float(squares[k:].sum() / squares.sum())  # 1 - P, without cancellation
    rho = float(squares[k] / squares[0]) if k < len(squares) else 0.0
    low = min(max(rho + (1 - rho) * math.sqrt(rest), 0.0), 1.0)
    return low, 1 - low
