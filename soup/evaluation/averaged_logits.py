"""Means of several models' logits: what they cost, and which of them is best, without a pass."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from soup.evaluation.metrics import Labels, Logits, NumberLabels
from soup.threads import one_thread

MOST = 1 << 27  # numbers of all models that `best_mean` holds as float32
ROUNDS = 100  # of L-BFGS


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

    def best_mean(self, names: Sequence[str], batches: Sequence[Tensor]) -> tuple[Tensor, float]:
        """Return where the loss of a weighted mean of logits is lowest (`soup.recipes.learned`).

        The loss is cross-entropy, or the squared error of predicted numbers, which beta does not
        scale; it is minimised by L-BFGS, in one thread: the result does not depend on the number
        of cores, and none waits for another.

        Args:
            names: of the K models.
            batches: indices of the examples to fit; of many, as many as fit into `MOST` numbers.

        Returns:
            The logarithms of the shares up to a constant, float64 (K,), and beta.
        """
        numbers = len(names) * next(iter(self._logits.values())).shape[1]
        among = torch.cat([*batches])[: max(1, MOST // numbers)].sort().values
        columns, labels = among.numpy(), self._labels[among]
        rows = [self._logits[name][columns].astype(np.float32).reshape(-1) for name in names]
        logits = torch.from_numpy(np.stack(rows))
        raw = torch.zeros(len(names), dtype=torch.float64, requires_grad=True)
        beta = torch.ones((), requires_grad=True)
        search = torch.optim.LBFGS([raw, beta], max_iter=ROUNDS, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            search.zero_grad()
            mean = torch.mv(logits.T, raw.softmax(0).float()).view(len(among), -1)
            if labels.is_floating_point():
                found = F.mse_loss(mean[:, 0], labels.float())
            else:
                found = F.cross_entropy(beta * mean, labels)
            found.backward()
            return found

        with one_thread():
            search.step(loss)
        return raw.detach(), beta.item()
