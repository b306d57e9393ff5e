"""The held-out loss of a torch model and its gradients, which learned soups minimise."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from soup.errors import BadInput
from soup.models import load_weights
from soup.models.batchnorm import Recalibration
from soup.models.lanes import SMALLEST, deal, gradients_in_lanes, in_lanes
from soup.recipes.learned import Gradients
from soup.weights import Weights, specs

# Parameters of the largest model whose batches are computed in parts, in lanes: of a larger one the
# gradients of several parts would take more memory than smaller batches save.
IN_PARTS = 8_000_000


class HeldoutError(BadInput, ValueError):
    """There are too few held-out examples for what is to be computed; the message says why."""


class HeldoutLoss:
    """The mean loss of beta * model(inputs), and its gradients for the weights and beta.

    The model stays in evaluation mode.

    Attributes:
        device: that the model is on.
        storage: the model's tensors, each under one name.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
        prepare: Callable[[Tensor], Tensor] = lambda inputs: inputs,
        checked: float = 0.2,
        batch_size: int = 256,
        seed: int = 0,
        autocast: torch.dtype | None = None,
        recalibration: Recalibration | None = None,
        scaled: bool = True,
    ) -> None:
        """
        Args:
            model: its weights are overwritten.
            inputs: (examples, ...), in their stored form; moved to the model's device a batch at a
                time.
            labels: (examples, ...).
            loss: outputs, labels -> mean loss over the batch.
            prepare: a batch of `inputs`, on the device -> the model's input.
            checked: fraction of the examples that is set aside for `check`, drawn by `seed`.
            batch_size: examples in each forward pass.
            seed: of the examples set aside and of the order of batches.
            autocast: dtype that the model computes in, None for its own. bfloat16 takes about half
                the time; the dtypes of weights, loss and gradients do not change.
            recalibration: recomputes BatchNorm statistics whenever weights are loaded; no gradient
                flows through them.
            scaled: whether beta scales the outputs; if not, its gradient is 0.

        Raises:
            HeldoutError: inputs and labels differ in number, or no example is left to learn from.
        """
        count = len(labels)
        if len(inputs) != count:
            raise HeldoutError(f"{len(inputs)} inputs but {count} labels")
        aside = round(checked * count)
        if not 0 <= aside < count:
            raise HeldoutError(
                f"{aside} of {count} held-out examples are set aside for checking, which leaves "
                "none to learn from; give more examples, or a smaller share"
            )
        self.device = next(model.parameters()).device
        order = np.random.default_rng(seed).permutation(count)
        self._checked, self._learned = np.sort(order[:aside]), np.sort(order[aside:])
        self._model = model.eval().requires_grad_(True)
        held = model.state_dict()
        self.storage: Weights = {
            name: held[name] for name, spec in specs(held).items() if spec.tied == name
        }
        self._inputs, self._labels = inputs, labels
        self._loss, self._prepare = loss, prepare
        self._batch_size, self._seed, self._autocast = batch_size, seed, autocast
        self._recalibration, self._scaled = recalibration, scaled

    def batches(self, epoch: int, size: int | None = None) -> Iterator[Tensor]:
        """The indices of the examples to learn from, in batches, shuffled by (seed, epoch).

        Args:
            size: examples in a batch; `batch_size` if None.
        """
        order = np.random.default_rng([self._seed, epoch]).permutation(self._learned)
        yield from torch.from_numpy(order).split(size or self._batch_size)

    def __call__(self, weights: Weights, beta: float, batch: Tensor) -> Gradients:
        """The loss and its gradients on a batch of indices.

        On a CPU the batch of a small model is computed in parts, in lanes. Which examples are in a
        part depends on the batch and the size of an example alone, and the gradients of the parts
        are added in their order: results do not depend on the number of lanes.

        Raises:
            ModelError: the weights do not fit the model.
        """
        self._load(weights)
        size, lanes = self._parts(batch)
        if size >= len(batch):
            return self._gradients(beta, batch)
        parts = batch.split(size)
        loss, slope, total = 0.0, 0.0, dict[str, Tensor]()
        found = gradients_in_lanes(
            self._model,
            lambda part: self._gradients(beta, part),
            self._outputs,
            parts,
            lanes,
        )
        for part, gradients in zip(parts, found, strict=True):
            share = len(part) / len(batch)
            loss, slope = loss + share * gradients.loss, slope + share * gradients.beta
            for name, gradient in gradients.weights.items():
                if name in total:
                    total[name].add_(gradient, alpha=share)
                else:
                    total[name] = gradient.mul_(share)
        return Gradients(loss, total, slope)

    def _parts(self, batch: Tensor) -> tuple[int, int]:
        """Examples of a part, and the most parts at once."""
        parameters = sum(parameter.numel() for parameter in self._model.parameters())
        if self.device.type != "cpu" or parameters > IN_PARTS:
            return len(batch), 1
        batches = deal(len(batch), self.device, self._inputs[0].numel())
        return min(batches.size, max(SMALLEST, len(batch) // 4)), batches.lanes

    def _gradients(self, beta: float, batch: Tensor) -> Gradients:
        named = dict(self._model.named_parameters())
        scale = torch.full((1,), beta, device=self.device, requires_grad=True)
        loss = self._mean(scale, batch)
        *gradients, slope = torch.autograd.grad(loss, [*named.values(), scale], allow_unused=True)
        used = {n: g for n, g in zip(named, gradients, strict=True) if g is not None}
        return Gradients(loss.item(), used, 0.0 if slope is None else slope.item())

    @torch.no_grad()
    def check(self, weights: Weights, beta: float) -> float | None:
        """The mean loss on the examples that are set aside; None if there are none."""
        if not len(self._checked):
            return None
        self._load(weights)
        scale = torch.full((1,), beta, device=self.device)
        batches = deal(self._batch_size, self.device, self._inputs[0].numel())
        parts = torch.from_numpy(self._checked).split(batches.size)

        def total_of(part: Tensor) -> Tensor:
            return self._mean(scale, part).double().cpu() * len(part)

        totals = in_lanes(
            self._model, total_of, lambda part: part, parts, batches.lanes, in_memory=True
        )
        return sum(total.item() for total in totals) / len(self._checked)

    def _load(self, weights: Weights) -> None:
        load_weights(self._model, weights, type(self._model).__name__)
        if self._recalibration is not None:
            self._recalibration(self._model, weights)

    def _outputs(self, batch: Tensor) -> Tensor:
        inputs = self._prepare(self._inputs[batch].to(self.device))
        # On a CPU there may be lanes, which must not share what is cast.
        enabled, shared = self._autocast is not None, self.device.type != "cpu"
        with torch.autocast(self.device.type, self._autocast, enabled, shared):
            outputs: Tensor = self._model(inputs)
        return outputs

    def _mean(self, scale: Tensor, batch: Tensor) -> Tensor:
        outputs = self._outputs(batch)
        # A scale with an axis, unlike a scalar, promotes half-precision outputs to float32.
        outputs = scale * outputs if self._scaled else outputs.float()
        return self._loss(outputs, self._labels[batch].to(self.device))
