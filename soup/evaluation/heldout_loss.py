"""The held-out loss of any torch model, as a learned soup wants it."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from soup.errors import BadInput
from soup.models import load_weights
from soup.recipes.learned import Gradients
from soup.weights import Weights


class HeldoutError(BadInput, ValueError):
    """Held-out examples that are too few for what is asked of them; says why."""


class HeldoutLoss:
    """The mean loss of beta * model(inputs), and its derivatives by the weights and by beta.

    Batches are indices, shuffled by (seed, epoch). The model is in evaluation mode throughout.

    Attributes:
        device: the model's.
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
    ) -> None:
        """
        Args:
            model: any; its weights are overwritten.
            inputs, labels: the held-out examples, along the first axis, in whatever form they are
                kept; moved to the model's device a batch at a time.
            loss: (outputs, labels) -> the mean over the batch.
            prepare: a batch of inputs, on the device -> what the model takes.
            checked: share of the examples, drawn by the seed, that is not learned from.
            autocast: what the model computes in, if not in its own dtype: bfloat16 takes about half
                the time, and weights, loss and derivatives stay as they are.

        Raises:
            HeldoutError: inputs and labels differ in number, or none are left to learn from.
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
        self._inputs, self._labels = inputs, labels
        self._loss, self._prepare = loss, prepare
        self._batch_size, self._seed, self._autocast = batch_size, seed, autocast

    def batches(self, epoch: int) -> Iterator[Tensor]:
        order = np.random.default_rng([self._seed, epoch]).permutation(self._learned)
        yield from torch.from_numpy(order).split(self._batch_size)

    def __call__(self, weights: Weights, beta: float, batch: Tensor) -> Gradients:
        """
        Raises:
            ModelError: the weights do not fit the model.
        """
        load_weights(self._model, weights, type(self._model).__name__)
        named = dict(self._model.named_parameters())
        scale = torch.full((1,), beta, device=self.device, requires_grad=True)
        loss = self._mean(scale, batch)
        slopes = torch.autograd.grad(loss, [*named.values(), scale], allow_unused=True)
        found = {n: s for n, s in zip(named, slopes, strict=False) if s is not None}
        return Gradients(loss.item(), found, slopes[-1].item())

    @torch.no_grad()
    def check(self, weights: Weights, beta: float) -> float | None:
        if not len(self._checked):
            return None
        load_weights(self._model, weights, type(self._model).__name__)
        scale = torch.full((1,), beta, device=self.device)
        parts = torch.from_numpy(self._checked).split(self._batch_size)
        total = sum(self._mean(scale, part).item() * len(part) for part in parts)
        return total / len(self._checked)

    def _mean(self, scale: Tensor, batch: Tensor) -> Tensor:
        inputs = self._prepare(self._inputs[batch].to(self.device))
        enabled = self._autocast is not None
        with torch.autocast(self.device.type, self._autocast, enabled):
            outputs = self._model(inputs)
        # The scale has an axis, so that outputs in half precision become float32 here.
        return self._loss(scale * outputs, self._labels[batch].to(self.device))
