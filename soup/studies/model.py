"""A model that studies are made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soup.errors import BadInput
from soup.evaluation.examples import Examples
from soup.evaluation.metrics import Logits
from soup.weights import Weights


@dataclass(frozen=True)
class Model:
    """A model of the sweep.

    Attributes:
        name: its run's.
        weights: read from files when they are used.
        digest: SHA-256 of the file of the weights.
        settings: its hyperparameters, such as lr and seed.
        heldout: reads the stored held-out logits.
    """

    name: str
    weights: Weights
    digest: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    heldout: Callable[[], Logits] | None = None


# Digest of the lesson, examples, the teacher's probabilities (examples, classes), settings of the
# training, seed -> the student.
Teach = Callable[[str, Examples, NDArray[np.floating], Mapping[str, Any], int], Model]


def cannot_teach(*_lesson: object) -> Model:
    """The `Teach` of a bench that has no means to train."""
    raise BadInput("this sweep cannot train a further model")
