"""Every model's answers on every set: those that a run has kept, or computed now."""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from soup.evaluation.examples import Examples
from soup.evaluation.metrics import Logits
from soup.evaluation.prediction_file import to_float16_keeping_argmax
from soup.files import of_code, of_value
from soup.models import Architecture
from soup.weights import Weights

Find = Callable[[str, str], Logits | None]
Keep = Callable[[str, str, str, Logits], None]


@dataclass(frozen=True)
class PredictionCache:
    """Answers on sets of images, float32 (examples, classes) by split.

    A split that is kept is rounded as in its file, so that finding it gives the same results as
    computing it.

    Attributes:
        compute: weights, images -> logits.
        kept: splits whose answers are kept.
        find: split, digest -> answers that a run has, or None.
    """

    sets: Mapping[str, Examples]
    architecture: Architecture
    compute: Callable[[Weights, Examples], Logits]
    kept: Collection[str] = ()
    find: Find = lambda _split, _digest: None
    how: str = ""
    _new: dict[str, list[tuple[str, str, Logits]]] = field(default_factory=dict)

    def __call__(
        self, name: str, weights: Weights, digest: str, heldout: Logits | None = None
    ) -> dict[str, Logits]:
        """A model's answers.

        Args:
            name: of the model, by which `store` knows it again.
            digest: of its weights.
            heldout: its answers on held-out, if they are known.
        """
        answers = {}
        for split, examples in self.sets.items():
            if split == "heldout" and heldout is not None:
                answers[split] = heldout.astype(np.float32)
            elif split not in self.kept:
                answers[split] = self.compute(weights, examples)
            else:
                code = of_code("soup.models", "soup.evaluation.predict")
                made_by = [code, self.architecture.text(), self.how]
                key = of_value([digest, examples.digest, made_by])
                found = self.find(split, key)
                if found is None:
                    found = to_float16_keeping_argmax(self.compute(weights, examples))
                    self._new.setdefault(name, []).append((split, key, found))
                answers[split] = found.astype(np.float32)
        return answers

    def store(self, name: str, run_id: str, keep: Keep) -> None:
        """Give what was computed of a model, and is to be kept, to `keep`, once."""
        for split, key, found in self._new.pop(name, []):
            keep(run_id, split, key, found)


def digest_of(weights: Weights) -> str:
    """SHA-256 of weights that stand in no file."""
    total = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
