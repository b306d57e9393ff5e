"""The cost of the mean of several models' logits, which ranks candidate soups without a pass."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from soup.evaluation.metrics import Labels, Logits, NumberLabels


class AveragedLogits:
    """Held-out logits of models; see `soup.recipes.proposing.Predictions`."""

    def __init__(
        self,
        logits: Mapping[str, Logits],
        labels: Labels | NumberLabels,
        cost: Callable[[Tensor, Tensor], float],
    ) -> None:
        """
        Args:
            logits: of each model by name, (examples, classes).
            labels: (examples,).
            cost: logits (examples, classes), labels (examples,) -> a cost such as the errors.
        """
        self._logits, self._labels, self._cost = logits, torch.from_numpy(labels), cost

    def cost(self, counts: Mapping[str, int]) -> float:
        """Return the cost of the mean of logits of models that count so often each."""
        total = np.zeros(next(iter(self._logits.values())).shape, dtype=np.float32)
        for name, count in counts.items():
            total += count * self._logits[name].astype(np.float32)
        return self._cost(torch.from_numpy(total / sum(counts.values())), self._labels)
