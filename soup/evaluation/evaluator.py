"""Labelled examples and a model, by which the weights of any checkpoint are scored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from soup.evaluation.examples import Examples
from soup.evaluation.heldout_loss import HeldoutError, HeldoutLoss
from soup.evaluation.judges import TOP1_ERROR, ErrorFunction, ErrorJudge, ScoreJudge
from soup.evaluation.metrics import Correct, Logits, Margins
from soup.evaluation.passes import Loading
from soup.evaluation.predict import batches_of, predict
from soup.evaluation.score_bounds import Score
from soup.models import Architecture, load_weights
from soup.models.batchnorm import Recalibration
from soup.weights import Weights, specs


@dataclass(frozen=True)
class Evaluator:
    """Labelled examples, and one model on each device, which weights are loaded into.

    Attributes:
        examples: that weights are scored on.
        architecture: of the models.
        models: one on each device; their weights are overwritten.
        batch_size: examples in each forward pass.
        skipped: one line for each example that was left out, with the reason.
        recalibration: recomputes the BatchNorm statistics of candidates in the judges and in the
            objective; None leaves those of the weights.
        advance: called with the number of examples that a model is done with.
    """

    examples: Examples
    architecture: Architecture
    models: tuple[nn.Module, ...]
    batch_size: int
    skipped: tuple[str, ...] = ()
    recalibration: Recalibration | None = None
    advance: Callable[[int], object] = lambda _: None

    def __len__(self) -> int:
        return len(self.examples)

    def logits(self, weights: Weights) -> Logits:
        """The logits of a model with these weights, float32 (examples, classes).

        Raises:
            ModelError: the weights do not fit the architecture.
        """
        self.load(self.models[0], weights)
        model, examples = self.models[0], self.examples
        return predict(model, examples, self.batch_size, advance=self.advance)

    def judges(
        self,
        correct: Sequence[Correct] = (),
        wrong: ErrorFunction = TOP1_ERROR,
        among: NDArray[np.int64] | None = None,
        margins: Mapping[str, Margins] | None = None,
    ) -> list[ErrorJudge]:
        """Judges that count errors, one for each device.

        Args:
            correct: for each ingredient, which examples it classifies correctly; a judge visits
                the examples first that most ingredients get wrong.
            wrong: logits (batch, classes), labels (batch,) -> which examples are errors (batch,).
            among: indices of the examples to judge; None for all.
            margins: of each ingredient by name, on all examples; a recipe that says of which
                ingredients a candidate is the mean has its probable errors visited first.
        """
        every = slice(None) if among is None else among
        order: dict[str, Any] = {
            "correct": [of_model[every] for of_model in correct],
            "margins": {name: of_model[every] for name, of_model in (margins or {}).items()},
        }
        return [ErrorJudge(**on, **order, wrong=wrong) for on in self._on_devices(among)]

    def score_judges(
        self,
        score: Score,
        correct: Sequence[Correct] = (),
        margins: Mapping[str, Margins] | None = None,
    ) -> list[ScoreJudge]:
        """Judges by any score of all logits, one for each device.

        Args:
            correct, margins: as in `judges`; of use to scores that can stop early.
        """
        order: dict[str, Any] = {"correct": [*correct], "margins": margins}
        return [ScoreJudge(**on, **order, score=score) for on in self._on_devices()]

    def recalibrated(self, weights: Weights) -> Weights:
        """The weights with the BatchNorm statistics that the judges give them."""
        return Loading(self.load, self.recalibration).recalibrated(self.models[0], weights)

    def objective(self) -> HeldoutLoss:
        """The loss and its gradients, for recipes that learn their coefficients.

        It is cross-entropy, or the squared error of predicted numbers, which beta does not scale: a
        soup without beta would predict other numbers.
        """
        size, prepare = min(self.batch_size, 256), self.examples.prepare
        return HeldoutLoss(
            self.models[0],
            *self._compact(),
            prepare=prepare,
            batch_size=size,
            recalibration=self.recalibration,
            loss=_squared_error if self.predicts_numbers else torch.nn.functional.cross_entropy,
            scaled=not self.predicts_numbers,
        )

    @property
    def predicts_numbers(self) -> bool:
        """Whether the models predict numbers, not classes."""
        return self.architecture.predicts_numbers

    def fisher(self, weights: Weights, examples: int = 512, seed: int = 0) -> Weights:
        """The diagonal of the Fisher information matrix, by the names of the weights.

        Matena and Raffel, "Merging models with Fisher-weighted averaging", NeurIPS 2022, equation
        4: the mean over examples x of the squared gradient of log p(y | x), with y drawn from the
        model's own distribution p. A predicted number is the mean of a normal distribution of
        variance 1, whose information is the squared gradient of the number. Tensors that are no
        parameters have the value 1.

        Args:
            weights: of the model.
            examples: how many examples are drawn.
            seed: of the choice of examples and labels.
        """
        model, rng = self.models[0], np.random.default_rng(seed)
        self.load(model, weights)
        chosen = rng.permutation(len(self))[:examples]
        named = {n: p.requires_grad_(True) for n, p in model.named_parameters()}
        sums = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in named.items()}
        device = next(iter(named.values())).device
        for inputs in self.examples.batches(chosen, 1, device):
            self.advance(1)
            outputs = model(inputs).float()
            if self.predicts_numbers:
                self._add_squares(sums, named, outputs[0, 0])
                continue
            scores = outputs.log_softmax(1)[0]
            probabilities = scores.detach().double().exp().cpu().numpy()
            if not np.isfinite(probabilities).all():
                raise HeldoutError(
                    "a model's logits on the held-out examples are not finite, so that it has no "
                    "Fisher information: 'soup inspect' says whether its weights are broken"
                )
            label = int(rng.choice(len(probabilities), p=probabilities / probabilities.sum()))
            self._add_squares(sums, named, scores[label])
        of_parameter = {named[name]: (total / len(chosen)).cpu() for name, total in sums.items()}
        every = model.named_parameters(remove_duplicate=False)  # tied ones under each name
        diagonal = {name: of_parameter[parameter] for name, parameter in every}
        # Buffers have no gradient; with 1 in every model they are averaged with equal weight.
        return {n: diagonal.get(n, torch.ones(s.shape)) for n, s in specs(weights).items()}

    @staticmethod
    def _add_squares(
        sums: dict[str, torch.Tensor], named: dict[str, torch.Tensor], output: torch.Tensor
    ) -> None:
        """Add the squared gradient of an output to the sums, in place."""
        gradients = torch.autograd.grad(output, [*named.values()], allow_unused=True)
        for name, gradient in zip(named, gradients, strict=True):
            if gradient is not None:
                sums[name] += gradient.double().square()

    def _compact(self, among: NDArray[np.int64] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """The inputs in their compact form, and the labels, of all examples or those at `among`."""
        indices = np.arange(len(self)) if among is None else among
        return self.examples.compact(indices), torch.from_numpy(self.examples.labels[indices])

    def _on_devices(self, among: NDArray[np.int64] | None = None) -> list[dict[str, Any]]:
        """The arguments that the judges of all kinds have in common, for each device."""
        inputs, labels = self._compact(among)
        indices = np.arange(len(self)) if among is None else among
        device = next(self.models[0].parameters()).device
        batches = batches_of(self.examples, indices, self.batch_size, device)
        groups = self.examples.groups(indices, batches.size)
        if groups is not None and among is not None:  # as positions among these
            position = {int(index): place for place, index in enumerate(among)}
            groups = [np.array([position[int(i)] for i in group]) for group in groups]
        shared = {
            "inputs": inputs,
            "labels": labels,
            "batch_size": batches.size,
            "lanes": batches.lanes,
            "prepare": self.examples.prepare,
            "load": self.load,
            "recalibration": self.recalibration,
            "groups": groups,
            "advance": self.advance,
        }
        return [{"model": model, **shared} for model in self.models]

    def load(self, model: nn.Module, weights: Weights) -> None:
        """Copy weights into a model; raises ModelError if they do not fit the architecture."""
        load_weights(model, weights, self.architecture.model)


def _squared_error(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.mse_loss(outputs[:, 0], labels)
