"""Averages of the weights along a run, each of which becomes one more ingredient.

Exponential moving averages (EMA), several decays at once: the paper's ViT-G runs save two, the one
of low decay being the better ingredient, the one of high decay the better single model. Stochastic
weight averaging (SWA, Izmailov et al., UAI 2018): the plain mean of the weights at the end of each
epoch of the part of the run whose rate is constant. BatchNorm statistics are averaged alike here;
`finetune` recomputes them on training images before the averages are scored.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

SWA = "swa"
Average = Callable[[Any, Any, Any], Any]


def names(ema: Sequence[float], swa: bool) -> list[str]:
    """The names of the averages, in order: 'ema-0.99', ..., 'swa'."""
    return [*(f"ema-{decay:g}" for decay in ema), *([SWA] if swa else [])]


class Averages:
    """The running averages of one model's weights."""

    def __init__(self, model: nn.Module, ema: Sequence[float] = (), swa: bool = False) -> None:
        self._model = model
        functions = [*map(get_ema_multi_avg_fn, ema), *([get_swa_multi_avg_fn()] if swa else [])]
        functions = [*map(_of_floats, functions)]
        self._averaged = {
            name: AveragedModel(model, multi_avg_fn=function, use_buffers=True)
            for name, function in zip(names(ema, swa), functions, strict=True)
        }
        for name, averaged in self._averaged.items():
            if name != SWA:
                averaged.update_parameters(model)  # an EMA begins at the initialisation

    @property
    def models(self) -> dict[str, nn.Module]:
        """The averages as models by name; SWA is left out if no epoch of its part has ended."""
        return {name: a.module.eval() for name, a in self._averaged.items() if int(a.n_averaged)}

    def update(self, epoch_ended: bool) -> None:
        """Update the averages after a step.

        Args:
            epoch_ended: whether the step ended an epoch of the part that SWA averages.
        """
        for name, averaged in self._averaged.items():
            if name != SWA or epoch_ended:
                averaged.update_parameters(self._model)

    def state(self) -> dict[str, Tensor]:
        """The tensors of all averages by 'averages/name/tensor'."""
        return {
            f"averages/{name}/{key}": value
            for name, averaged in self._averaged.items()
            for key, value in averaged.state_dict().items()
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load what `state` returned; other tensors are not read."""
        for name, averaged in self._averaged.items():
            averaged.load_state_dict(
                {key: state[f"averages/{name}/{key}"] for key in averaged.state_dict()}
            )


def _of_floats(average: Average) -> Average:
    """An averaging function that copies integers, such as BatchNorm's counter of batches.

    torch's own takes integers for weights: SWA fails on them, and EMA rounds down.
    """

    def function(averaged: Any, current: Any, count: Any) -> None:
        if averaged[0].is_floating_point() or averaged[0].is_complex():
            average(averaged, current, count)
        else:
            torch._foreach_copy_(averaged, current)

    return function
