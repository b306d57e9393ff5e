"""Forward passes of candidate weights over the same examples, the hardest examples first.

A pass that may stop early first visits the examples on which most models fail. Images can be in any
batch, so they are sorted one by one. Texts of similar length have fixed batches, so whole batches
are sorted: then the logits of an example depend on the weights alone, to the last bit.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from soup.evaluation.foresight import Foresight
from soup.evaluation.metrics import Correct, Logits, Margins, margins
from soup.models.batchnorm import Recalibration
from soup.models.lanes import in_lanes
from soup.weights import Weights
from soup.weights.algebra import replaced

Load = Callable[[nn.Module, Weights], None]


def load_exactly(model: nn.Module, weights: Weights) -> None:
    """Copy weights into a model that has exactly these tensors.

    Raises:
        RuntimeError: names or shapes differ; the message of torch lists them.
    """
    model.load_state_dict(dict(weights))


@dataclass(frozen=True)
class Loading:
    """Loads candidate weights into a model, and recomputes BatchNorm statistics if requested.

    Attributes:
        load: copies weights into a model.
        recalibration: recomputes the statistics; None keeps those of the weights.
    """

    load: Load
    recalibration: Recalibration | None = None

    def __call__(self, model: nn.Module, weights: Weights) -> None:
        self.load(model, weights)
        if self.recalibration is not None:
            self.recalibration(model, weights)

    def recalibrated(self, model: nn.Module, weights: Weights) -> Weights:
        """The weights with the statistics that a call gives the model."""
        if self.recalibration is None:
            return weights
        self.load(model, weights)
        return replaced(weights, self.recalibration(model, weights))


def hardest_first(correct: Sequence[Correct], soup: Correct | None = None) -> NDArray[np.int64]:
    """Indices of the examples by decreasing number of models that are wrong; ties keep their order.

    Args:
        correct: for each model, which examples it classifies correctly.
        soup: the same for the current soup. Its errors come first, because the next candidate
            differs from the soup by one model and makes mostly the same errors.
    """
    return np.argsort(-_wrong(correct, soup), kind="stable")


def _wrong(correct: Sequence[Correct], soup: Correct | None) -> NDArray[np.int64]:
    """How often each example was wrong, (examples,); the errors of the soup count most."""
    wrong: NDArray[np.int64] = np.sum([~of_model for of_model in correct], axis=0)
    return wrong if soup is None else wrong + (len(correct) + 1) * ~soup


class Passes:
    """The passes of any candidate over a fixed set of examples."""

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        correct: Sequence[Correct],
        batch_size: int,
        prepare: Callable[[Tensor], Tensor],
        loading: Loading,
        groups: Sequence[NDArray[np.int64]] | None = None,
        lanes: int = 1,
        known: Mapping[str, Margins] | None = None,
        advance: Callable[[int], object] = lambda _: None,
    ) -> None:
        """
        Args:
            model: receives the weights (its own are overwritten); runs on its present device.
            inputs: (examples, ...); kept on the model's device.
            labels: (examples, ...); the same.
            correct: for each ingredient already scored, which examples it classifies correctly.
            batch_size: examples in each forward pass, if there are no `groups`.
            prepare: a batch of `inputs` -> the model's input.
            loading: copies weights into the model.
            groups: the indices of the examples of each batch; None if any batches will do.
            lanes: the most batches that are computed at once, on a CPU.
            known: the margins of ingredients by name, which `foresee` needs.
            advance: called with the number of examples of each batch; those that a pass ends
                without count at its end, so that every pass counts all.
        """
        device = next(model.parameters()).device
        self._model, self._prepare, self.loading = model.eval(), prepare, loading
        self._correct, self._batch_size, self._groups = [*correct], batch_size, groups
        self._lanes, self._foresight = lanes, Foresight(known or {})
        self._foreseen, self._advance = False, advance
        self._inputs, self.labels = inputs.to(device), labels.to(device)
        best = min(correct, key=lambda of_model: int((~of_model).sum()), default=None)
        self._visits: list[Tensor] = []
        self._arrange(best)

    def __call__(
        self, weights: Weights, enough: Callable[[int], bool] | None = None
    ) -> Generator[tuple[Tensor, Tensor]]:
        """Load weights, and yield the indices and the logits of one batch after the other.

        If the caller stops early, lanes have computed further batches, which nobody sees.

        Args:
            enough: the number of batches that were begun and not yielded -> whether the caller will
                probably stop at them; then no other is begun before.
        """
        self.loading(self._model, weights)
        visits, inputs = self._visits, self._inputs

        def compute(batch: Tensor) -> Tensor:
            logits: Tensor = self._model(self._prepare(batch))
            return logits

        left = len(self.labels)
        try:
            passing = in_lanes(
                self._model,
                compute,
                inputs.__getitem__,
                visits,
                self._lanes,
                enough,
                in_memory=True,
            )
            with closing(passing) as outputs:
                for part, logits in zip(visits, outputs, strict=True):
                    left -= len(part)
                    self._advance(len(part))
                    yield part, logits
        finally:
            self._advance(left)

    def in_order(self, outputs: Sequence[Tensor]) -> Logits:
        """The logits of all batches of a whole pass, on the CPU, in the order of the examples."""
        logits: Logits = torch.cat([*outputs])[torch.cat(self._visits).argsort().cpu()].numpy()
        return logits

    def foresee(self, names: Sequence[str]) -> None:
        """Visit first what a mean of these ingredients probably gets wrong, if that is known."""
        expected = self._foresight.of(names)
        self._foreseen = expected is not None
        if expected is not None:
            self._visit(expected)

    def learn(self, logits: Logits) -> None:
        """Take the logits of the mean that was foreseen, from which the next are foreseen."""
        if self._foreseen:
            self._foresight.learn(margins(logits, self.labels.cpu().numpy()))

    def follow(self, soup: Correct) -> None:
        """From now on, visit the errors of the present soup first, unless more is foreseen."""
        if self._correct and not self._foreseen:
            self._arrange(soup)

    def _visit(self, expected: Margins) -> None:
        """Sort the examples, or their groups, by expected margins."""
        device, groups = self._inputs.device, self._groups
        if groups is None:
            order = torch.from_numpy(np.argsort(expected, kind="stable"))
            self._visits = [*order.to(device).split(self._batch_size)]
            return
        ordered = sorted(groups, key=lambda group: -float((expected[group] < 0).mean()))
        self._visits = [torch.from_numpy(group).to(device) for group in ordered]

    def recalibrated(self, weights: Weights) -> Weights:
        """The weights as they are in the model during a pass."""
        return self.loading.recalibrated(self._model, weights)

    def _arrange(self, soup: Correct | None) -> None:
        device, groups = self._inputs.device, self._groups
        if groups is None:
            n = len(self.labels)
            order = np.arange(n) if soup is None else hardest_first(self._correct, soup)
            self._visits = [*torch.from_numpy(order).to(device).split(self._batch_size)]
            return
        if soup is not None:
            wrong = _wrong(self._correct, soup)
            groups = sorted(groups, key=lambda group: -float(wrong[group].mean()))
        self._visits = [torch.from_numpy(group).to(device) for group in groups]
