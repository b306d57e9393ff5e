"""Labelled examples and a model that takes them: what checkpoints are scored and judged on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from soup.evaluation.examples import Examples
from soup.evaluation.heldout_loss import HeldoutLoss
from soup.evaluation.judges import TOP1_ERROR, ErrorFunction, ErrorJudge, Score, ScoreJudge
from soup.evaluation.metrics import Correct, Logits
from soup.evaluation.predict import predict
from soup.models import Architecture, load_weights
from soup.weights import Weights, specs


@dataclass(frozen=True)
class Evaluator:
    """Labelled examples, and a model on each device that weights are loaded into.

    Attributes:
        models: of the architecture, one a device; their weights are overwritten.
        batch_size: examples that a model takes at a time.
        skipped: what was left out of the examples, and why; a line each.
    """

    examples: Examples
    architecture: Architecture
    models: tuple[nn.Module, ...]
    batch_size: int
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.examples)

    def logits(self, weights: Weights) -> Logits:
        """float32 (examples, classes)."""
        self.load(self.models[0], weights)
        return predict(self.models[0], self.examples, self.batch_size)

    def judges(
        self,
        correct: Sequence[Correct] = (),
        wrong: ErrorFunction = TOP1_ERROR,
        among: NDArray[np.int64] | None = None,
    ) -> list[ErrorJudge]:
        """One judge a device, which counts errors.

        Args:
            correct: for each ingredient, which examples it got right: the order of the visit.
            among: indices of the examples to look at, if not all.
        """
        chosen = np.arange(len(self)) if among is None else among
        inputs, labels = self._compact(chosen)
        right = [answers[chosen] for answers in correct]
        prepare, size = self.examples.prepare, self.batch_size
        return [
            ErrorJudge(model, inputs, labels, right, size, wrong, prepare, self.load)
            for model in self.models
        ]

    def score_judges(self, score: Score) -> list[ScoreJudge]:
        """One judge a device, of any score."""
        inputs, labels = self._compact(np.arange(len(self)))
        prepare, size = self.examples.prepare, self.batch_size
        return [
            ScoreJudge(model, inputs, labels, score, size, prepare, self.load)
            for model in self.models
        ]

    def objective(self) -> HeldoutLoss:
        """The cross-entropy, for recipes that learn."""
        inputs, labels = self._compact(np.arange(len(self)))
        size = min(self.batch_size, 256)
        prepare = self.examples.prepare
        return HeldoutLoss(self.models[0], inputs, labels, prepare=prepare, batch_size=size)

    def fisher(self, weights: Weights, examples: int = 512, seed: int = 0) -> Weights:
        """The diagonal of the Fisher information, from the model's own labels on some examples.

        Matena and Raffel, "Merging models with Fisher-weighted averaging", NeurIPS 2022, equation
        4: the mean over images x of the squared gradient of log p(y | x), with y drawn from p.
        """
        model, rng = self.models[0], np.random.default_rng(seed)
        self.load(model, weights)
        chosen = rng.permutation(len(self))[:examples]
        named = {n: p.requires_grad_(True) for n, p in model.named_parameters()}
        sums = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in named.items()}
        device = next(iter(named.values())).device
        for inputs in self.examples.batches(chosen, 1, device):
            scores = model(inputs).float().log_softmax(1)[0]
            shares = scores.detach().double().exp().cpu().numpy()
            drawn = int(rng.choice(len(shares), p=shares / shares.sum()))
            slopes = torch.autograd.grad(scores[drawn], [*named.values()], allow_unused=True)
            for name, slope in zip(named, slopes, strict=True):
                if slope is not None:
                    sums[name] += slope.double().square()
        found = {name: (total / len(chosen)).cpu() for name, total in sums.items()}
        # Buffers have no gradient: they count alike in every model.
        return {n: found.get(n, torch.ones(s.shape)) for n, s in specs(weights).items()}

    def _compact(self, indices: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and labels of the examples at `indices`."""
        return self.examples.compact(indices), torch.from_numpy(self.examples.labels[indices])

    def load(self, model: nn.Module, weights: Weights) -> None:
        load_weights(model, weights, self.architecture.model)
