"""Linear layers that multiply by oneDNN on AMD processors, where it is twice as fast as MKL.

torch multiplies float32 matrices by MKL, which does not use AVX-512 on AMD processors. On an EPYC
of the fifth generation, one core computes 105 GFLOP/s by MKL and 235 by oneDNN; a forward pass of
ViT-B/32 takes half the time. The figures of text models are in docs/text.md. Sums are computed in
another order, so that results differ by rounding only.
"""

import platform
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn


class Linear(nn.Linear):
    """A linear layer that multiplies by oneDNN where that is faster, in both passes."""

    def forward(self, input: Tensor) -> Tensor:  # torch names it
        if not self._multiplies(input):
            return super().forward(input)
        # torch.utils.mkldnn calls this too. It has a gradient, and takes parameters as they are.
        product: Tensor = torch._C._nn.mkldnn_linear(input.to_mkldnn(), self.weight, self.bias)
        return product.to_dense()

    def _multiplies(self, inputs: Tensor) -> bool:
        """Whether inputs and weights are plain float32 tensors of this processor."""
        return (
            faster()
            and type(inputs) is Tensor
            and inputs.device.type == self.weight.device.type == "cpu"
            and inputs.dtype == self.weight.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
        )


def multiply_by_onednn(model: nn.Module) -> None:
    """Change the linear layers of a model in place; names and values of tensors stay."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear


@cache
def faster() -> bool:
    """Whether oneDNN is faster than MKL here: on AMD processors with AVX-512."""
    try:
        processor = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:  # not Linux
        processor = platform.processor()
    return (
        "AuthenticAMD" in processor
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
    )
