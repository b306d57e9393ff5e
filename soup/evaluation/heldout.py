"""The held-out set, and how a model does on it: what ingredients are ranked by."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from soup.evaluation import prediction_file
from soup.evaluation.examples import Examples
from soup.evaluation.metrics import Logits, correct
from soup.evaluation.predict import predict
from soup.models import DESCRIPTION_FILE, Architecture
from soup.weights.checkpoint import save
from soup.weights.shards import WEIGHTS_FILE

PREDICTIONS_FILE = "heldout.npz"


@dataclass(frozen=True)
class Result:
    """Held-out errors among `examples`, and the folder of weights, description and answers."""

    errors: int
    examples: int
    folder: Path

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS_FILE

    @property
    def predictions(self) -> Path:
        """Held-out 'logits' (float16) and whether each is 'correct'."""
        return self.folder / PREDICTIONS_FILE

    @property
    def accuracy(self) -> float:
        return 1 - self.errors / self.examples


def scored(
    model: nn.Module,
    heldout: Examples,
    architecture: Architecture,
    folder: Path,
    batch_size: int,
    notes: Mapping[str, str] | None = None,
    logits: Logits | None = None,
) -> Result:
    """Score a model on held-out and write it, with notes and its answers, into a folder.

    Args:
        logits: its answers, where they are known.
    """
    if logits is None:
        logits = predict(model, heldout, batch_size)
    right = correct(logits, heldout.labels)
    result = Result(int((~right).sum()), len(heldout), folder)
    architecture.save(folder / DESCRIPTION_FILE)
    save(model.state_dict(), result.weights, notes)
    prediction_file.write(result.predictions, logits, right)
    return result
