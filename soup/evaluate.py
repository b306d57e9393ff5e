"""A model's logits on a set of images, and the judge that counts a candidate soup's errors."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from soup.data.images import Images
from soup.data.transforms import normalise, to_tensor
from soup.metrics import Correct, Logits
from soup.models import Architecture, load_weights
from soup.weights import Weights


@torch.inference_mode()
def predict(
    model: nn.Module, images: Images, architecture: Architecture, batch_size: int = 256
) -> Logits:
    """Raw logits, float32 (examples, classes), in the order of the images.

    The model must be in evaluation mode; it runs on the device that it is on.
    """
    assert images.pixels is not None
    device = next(model.parameters()).device
    parts = []
    for start in range(0, len(images), batch_size):
        pixels = to_tensor(images.pixels[start : start + batch_size]).to(device)
        parts.append(model(normalise(pixels, architecture)).float().cpu())
    logits: Logits = torch.cat(parts).numpy()
    return logits


class HeldoutJudge:
    """Counts held-out errors exactly, and stops as soon as they exceed what the rule allows.

    Examples are visited hardest first, by how many of the ingredients got them wrong, so that a
    candidate that will be rejected is rejected early; the decision is that of a full pass. Images
    are decoded once, and held on the model's device in the order of the visit.

    Attributes:
        looked_at: images looked at, one entry a call.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Images,
        architecture: Architecture,
        correct: Sequence[Correct] = (),
        batch_size: int = 256,
    ) -> None:
        """
        Args:
            model: any model of the architecture; its weights are overwritten.
            correct: for each ingredient already scored, which examples it got right.
        """
        assert images.pixels is not None
        order = hardest_first(correct) if len(correct) else np.arange(len(images))
        device = next(model.parameters()).device
        self._model = model.eval()
        self._architecture = architecture
        self._pixels = to_tensor(images.pixels[order]).to(device)
        self._labels = torch.from_numpy(images.labels[order]).to(device)
        self._batch_size = batch_size
        self.looked_at: list[int] = []

    @torch.inference_mode()
    def __call__(self, weights: Weights, at_most: int | None = None) -> int | None:
        load_weights(self._model, weights, self._architecture.model)
        errors = 0
        for start in range(0, len(self._labels), self._batch_size):
            stop = min(start + self._batch_size, len(self._labels))
            errors += self._errors(slice(start, stop))
            if at_most is not None and errors > at_most:
                self.looked_at.append(stop)
                return None
        self.looked_at.append(len(self._labels))
        return errors

    def _errors(self, part: slice) -> int:
        logits: Tensor = self._model(normalise(self._pixels[part], self._architecture))
        right = (logits.argmax(dim=1) == self._labels[part]) & ~logits.isnan().any(dim=1)
        return int((~right).sum())


def hardest_first(correct: Sequence[Correct]) -> NDArray[np.int64]:
    """Indices by decreasing number of models that are wrong; equal ones keep their order."""
    wrong = np.sum([~each for each in correct], axis=0)
    return np.argsort(-wrong, kind="stable")
