"""BatchNorm statistics of a soup, recomputed on training inputs.

The running mean and variance of a BatchNorm layer describe the layer's inputs in one model. Their
average over models is not what the layer sees in the average of the models, because each layer's
input is no linear function of the weights: it has to be measured, by a pass over training inputs,
for every candidate anew. `docs/benchmarks.md` shows what that changes, and how many inputs suffice.
"""

import copy
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from soup.models.architecture import ModelError
from soup.threads import available, dealt
from soup.weights import Weights, specs

IMAGES = 256  # training images that suffice; docs/benchmarks.md
# Name of a layer, examples, and the mean and variance of its inputs in a batch.
Measure = tuple[str, int, list[Tensor]]
BATCH = 64  # as accurate as batches of 256, in less time and memory


def has_batchnorm(model: nn.Module) -> bool:
    """Whether the model has BatchNorm layers with running statistics."""
    return bool(layers_of(model))


def layers_of(model: nn.Module) -> dict[str, _BatchNorm]:
    """The BatchNorm layers with running statistics by name; a shared one under all its names."""
    return {
        name: module
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }


def layers_that_differ(model: nn.Module, ingredients: Sequence[Weights]) -> list[str]:
    """The BatchNorm layers whose running statistics are not the same in all ingredients.

    Statistics that are the same were frozen in the fine-tunes, which makes them constants of the
    models; their average is exact, and recomputing them would change the models.
    """
    return [
        name
        for name in layers_of(model)
        if any(
            not torch.equal(ingredients[0][statistic], other[statistic])
            for statistic in (_tensor(name, "running_mean"), _tensor(name, "running_var"))
            for other in ingredients[1:]
        )
    ]


def spread_evenly(available: int, wanted: int) -> NDArray[np.int64]:
    """Indices of the inputs to recompute statistics on: always the same, in mixed order.

    They are spread evenly over the inputs, which are mostly sorted by class, so that each class is
    among them and in each batch.
    """
    even = np.linspace(0, available - 1, min(wanted, available)).round().astype(np.int64)
    return np.random.default_rng(0).permutation(even)


def recalibrate(
    model: nn.Module, batches: Iterable[Tensor], layers: Collection[str] | None = None
) -> Weights:
    """Recompute the running statistics in place, as the mean of the batches' statistics.

    As `torch.optim.swa_utils.update_bn`, but everything else is in evaluation mode (dropout and
    stochastic depth are off), an input counts alike in a batch of any size, and the result does not
    depend on the layers' momentum. `num_batches_tracked` becomes the number of batches. The model
    is in evaluation mode afterwards.

    Args:
        batches: inputs of the model; a batch of one input is joined to its neighbour, because one
            input has no variance.
        layers: names of the layers to recompute; None for all that have running statistics.

    Returns:
        A copy of all weights of the model.

    Raises:
        ModelError: there are fewer than two inputs.
    """
    _recompute(model, batches, layers)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@dataclass
class Recalibration:
    """A fixed set of training inputs, on which the statistics of candidates are recomputed.

    Attributes:
        inputs: (examples, ...), in their stored form, at least two; kept on the models' devices.
        prepare: a batch of `inputs` -> the model's input.
        batch_size: the most inputs in one forward pass. Batches are equally large, up to one.
        layers: names of the layers to recompute; None for all that have running statistics.
        models: number of models whose statistics were recomputed.
        seconds: time that this took.
    """

    inputs: Tensor
    prepare: Callable[[Tensor], Tensor] = lambda batch: batch
    batch_size: int = BATCH
    layers: Collection[str] | None = None
    models: int = 0
    seconds: float = 0.0
    _copies: dict[torch.device, Tensor] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        """What was done, and what it cost."""
        return (
            f"BatchNorm statistics recomputed {self.models} times on {len(self.inputs)} training "
            f"images: {self.seconds:.1f} s"
        )

    def __call__(self, model: nn.Module, weights: Weights) -> dict[str, Tensor]:
        """Recompute the statistics of a model in place.

        Args:
            model: with these weights loaded; in evaluation mode afterwards.
            weights: whose dtypes the statistics are rounded to, so that they can be stored in place
                of those of `weights` without any change.

        Returns:
            Copies of the recomputed tensors by name.

        Raises:
            ModelError: there are fewer than two inputs.
        """
        started = time.perf_counter()
        device = next(model.parameters()).device
        if device not in self._copies:
            self._copies[device] = self.inputs.to(device)
        inputs = self._copies[device]
        batches = max(1, min(-(-len(inputs) // self.batch_size), len(inputs) // 2))
        parts, lanes = inputs.tensor_split(batches), min(batches, available())
        statistics, stored = {}, specs(weights)
        for name, buffer in _recompute(model, parts, self.layers, self.prepare, lanes).items():
            dtype = stored[name].dtype
            rounded = buffer.to(dtype)
            # What is too large for float16, or too fine for float8, is kept as it is.
            if dtype.itemsize > 1 and bool(rounded.isfinite().all()):
                buffer.copy_(rounded)
            else:
                rounded = buffer
            statistics[name] = rounded.clone()
        self.models += 1
        self.seconds += time.perf_counter() - started
        return statistics


def _recompute(
    model: nn.Module,
    batches: Iterable[Tensor],
    layers: Collection[str] | None,
    prepare: Callable[[Tensor], Tensor] = lambda batch: batch,
    lanes: int = 1,
) -> Mapping[str, Tensor]:
    """Recompute statistics in place, and return the buffers that hold them by name.

    Several lanes give the bits of one: each has modules of its own, which share the weights, and
    the statistics of batches are added in the order of the batches.
    """
    model.eval()
    chosen = {n: m for n, m in layers_of(model).items() if layers is None or n in layers}
    own = threading.local()

    @torch.no_grad()
    def measured(batch: Tensor) -> list[Measure]:
        if not hasattr(own, "copy"):
            own.copy = _Measuring(model, chosen)
        return own.copy(prepare(batch))

    sums: dict[_BatchNorm, list[Any]] = {}
    counts, calls = dict.fromkeys(chosen.values(), 0), dict.fromkeys(chosen.values(), 0)
    parts = _without_singles(batches)
    on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    for measures in dealt(measured, parts, lanes) if on_cpu else map(measured, parts):
        for name, size, statistics in measures:
            module = chosen[name]
            earlier = sums.get(module, [0.0, 0.0])
            sums[module] = [
                total + size * statistic
                for total, statistic in zip(earlier, statistics, strict=True)
            ]
            counts[module] += size
            calls[module] += 1
    for module, totals in sums.items():  # none of a layer that the model does not use
        for statistic, total in zip(_statistics(module), totals, strict=True):
            statistic.copy_(total / counts[module])
    for module, number in calls.items():
        if module.num_batches_tracked is not None:
            module.num_batches_tracked.fill_(number)
    return {
        _tensor(name, key): buffer
        for name, module in chosen.items()
        for key, buffer in module.named_buffers(recurse=False)
    }


class _Measuring:
    """A copy of a model that shares all tensors but the statistics of some layers."""

    def __init__(self, model: nn.Module, layers: Collection[str]) -> None:
        own = {id(t) for name in layers for t in model.get_submodule(name).buffers(recurse=False)}
        tensors = [*model.parameters(), *model.buffers()]
        # What the memo has is not copied.
        self._model = copy.deepcopy(model, {id(t): t for t in tensors if id(t) not in own})
        self._measures: list[Measure] = []
        names = {layers_of(self._model)[name]: name for name in layers}
        for module, name in names.items():
            module.training, module.momentum = True, 1.0  # running statistics: the last batch's
            module.register_forward_hook(partial(self._add, name))

    def __call__(self, inputs: Tensor) -> list[Measure]:
        """The statistics of each layer, in the order of the layers' calls."""
        self._measures = []
        self._model(inputs)
        return self._measures

    def _add(self, name: str, module: _BatchNorm, inputs: tuple[Tensor], _output: Tensor) -> None:
        both = [statistic.double() for statistic in _statistics(module)]
        self._measures.append((name, len(inputs[0]), both))


def _tensor(layer: str, key: str) -> str:
    """The name of a layer's tensor in the weights; the layer may be the whole model, named ''."""
    return f"{layer}.{key}" if layer else key


def _statistics(module: _BatchNorm) -> tuple[Tensor, Tensor]:
    assert module.running_mean is not None
    assert module.running_var is not None
    return module.running_mean, module.running_var


def _without_singles(batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """The batches, those of a single input joined to a neighbour."""
    waiting = None
    for batch in batches:
        if waiting is not None and min(len(waiting), len(batch)) < 2:
            waiting = torch.cat([waiting, batch])
            continue
        if waiting is not None:
            yield waiting
        waiting = batch
    if waiting is None or len(waiting) < 2:
        raise ModelError("BatchNorm statistics are computed on at least two images: give more")
    yield waiting
