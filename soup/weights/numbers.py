"""Tensors as flat real numbers, and the one rounding at the end of a merge.

A complex number is two real numbers. Real numbers are merged in float64, and then rounded to the
dtype of the result by `fitted`, which finds those that do not fit.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

# Rounding to these turns an infinity into NaN, or float8_e4m3fn's into 448.
WITHOUT_INFINITY = {torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz}


def plain(tensor: Tensor) -> bool:
    """Whether a tensor is dense and has its data: not quantised by torch, sparse, sharded, meta."""
    return (
        tensor.layout == torch.strided
        and not tensor.is_quantized
        and not tensor.is_meta
        and (type(tensor) in (Tensor, nn.Parameter) or not is_traceable_wrapper_subclass(tensor))
    )


def numbers(tensor: Tensor) -> Tensor:
    """Return the real numbers of a tensor, flat and without autograd's graph.

    Those of float8 are returned in float32, because torch cannot add float8.
    """
    tensor = tensor.detach()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    flat = tensor.reshape(-1)
    return flat.float() if flat.dtype.itemsize == 1 else flat


def rounded(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Round numbers to a dtype; what is too large becomes infinite, or NaN in some kinds of float8.

    torch turns an infinity into 448 in float8_e4m3fn, which would hide that a model diverged.
    """
    if dtype in WITHOUT_INFINITY:
        values = values.masked_fill(values.abs() > largest(dtype), math.nan)
    return values.to(dtype)


def shaped(flat: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return the tensor of this shape, real or complex by its dtype, that has these numbers."""
    return torch.view_as_complex(flat.view(*shape, 2)) if dtype.is_complex else flat.view([*shape])


def count(shape: Sequence[int], dtype: torch.dtype) -> int:
    """Return how many real numbers a tensor has."""
    return math.prod(shape) * (2 if dtype.is_complex else 1)


def largest(dtype: torch.dtype) -> float:
    """Return the bound of what is rounded to a finite number: a quarter step above the largest."""
    limits = torch.finfo(dtype)
    return limits.max if dtype == torch.float64 else limits.max * (1 + limits.eps / 4)


def fitted(
    values: Tensor, dtype: torch.dtype, parts: Callable[[], Iterable[Tensor]]
) -> tuple[Tensor, bool]:
    """Check that merged numbers fit into the dtype of the result.

    An infinity that stands at the same place in all models is meant so (an attention mask), and
    stays, whatever the merge made of it.

    Args:
        values: float, of any shape but not empty.
        dtype: real.
        parts: returns the numbers of each model that were merged.

    Returns:
        The values, with shared infinities in their place, and whether all others are finite and not
        too large.
    """
    limit = largest(dtype)
    low, high = values.aminmax()  # takes a tenth of the time of isfinite; passes NaN on
    if float(low) >= -limit and float(high) <= limit:
        return values, True
    mask, shared = shared_infinities(parts())
    if dtype in WITHOUT_INFINITY:
        shared = torch.zeros_like(shared)
    fits = (values.abs() <= limit) | shared
    return torch.where(shared, mask.to(values.dtype), values), bool(fits.all())


def shared_infinities(parts: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the first of the parts, in float64, and where all have the same infinity."""
    parts = iter(parts)
    first = next(parts).to(torch.float64, copy=True)
    shared = first.isinf()
    for part in parts:
        shared &= part.to(first.device, torch.float64) == first
    return first, shared
