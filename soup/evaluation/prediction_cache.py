"""A model's logits on a set of images: those that a run keeps, or computed now.

All are rounded to float16: those that a run keeps are, and so are the held-out logits of every
ingredient. Likelihood and calibration of all models then have one precision, and a model that is
evaluated again from what is kept has the same figures. Accuracy does not change by the rounding.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch

from soup.evaluation.examples import Examples
from soup.evaluation.metrics import Logits
from soup.evaluation.prediction_file import to_float16_keeping_argmax
from soup.evaluation.targets import Targets
from soup.files import of_code, of_value
from soup.models import Architecture
from soup.weights import Weights

Find = Callable[[str, str], Logits | None]
Keep = Callable[[str, str, str, Logits], None]


@dataclass(frozen=True)
class Source:
    """Where the logits of a model come from.

    Attributes:
        name, kind: as in the result table.
        run_id: the run that keeps its predictions.
        weights: called for each set of images, so that no more than one model's are in memory.
        digest: of the weights; called where predictions are kept.
        heldout: reads its held-out logits; None where they are not known.
    """

    name: str
    kind: str
    run_id: str
    weights: Callable[[], Weights]
    digest: Callable[[], str]
    heldout: Callable[[], Logits] | None = None


@dataclass(frozen=True)
class PredictionCache:
    """Logits of models on sets of images, float16 (examples, classes).

    Attributes:
        sets: the images, by split.
        targets: by split; the likeliest class among a split's own answers survives the rounding.
        compute: weights, images -> logits.
        kept: splits whose logits the models' runs keep.
        find: split, digest -> logits that a run keeps, or None.
        keep: run id, split, digest, logits; stores them.
        how: whatever else decides the logits; part of the digest.
    """

    sets: Mapping[str, Examples]
    targets: Mapping[str, Targets]
    architecture: Architecture
    compute: Callable[[Weights, Examples], Logits]
    kept: Collection[str] = ()
    find: Find = lambda _split, _digest: None
    keep: Keep = lambda _run_id, _split, _digest, _logits: None
    how: str = ""

    def __call__(self, model: Source, split: str) -> Logits:
        """A model's logits on a split."""
        if split == "heldout" and model.heldout is not None:
            return to_float16_keeping_argmax(model.heldout())
        if split not in self.kept:
            return self._computed(model, split)
        digest = self._digest(model, split)
        logits = self.find(split, digest)
        if logits is None:
            logits = self._computed(model, split)
            self.keep(model.run_id, split, digest, logits)
        return logits

    def _computed(self, model: Source, split: str) -> Logits:
        exact = self.compute(model.weights(), self.sets[split])
        return to_float16_keeping_argmax(exact, self.targets[split].columns)

    def _digest(self, model: Source, split: str) -> str:
        code = of_code("soup.models", "soup.evaluation.predict")
        made_by = [code, self.architecture.text(), self.how, self.targets[split].columns.tolist()]
        return of_value([model.digest(), self.sets[split].digest, made_by])


def digest_of(weights: Weights) -> str:
    """SHA-256 of the names, dtypes, shapes and numbers of weights, for such as have no file."""
    total = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
