"""The held-out score of a model, by which ingredients are ranked, and the folder it is kept in."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from soup.evaluation import prediction_file
from soup.evaluation.diagnosis.low_scores import RECORD
from soup.evaluation.examples import Examples
from soup.evaluation.metrics import Logits, correct
from soup.evaluation.predict import predict
from soup.models import DESCRIPTION_FILE, Architecture
from soup.weights.checkpoint import save
from soup.weights.shards import WEIGHTS_FILE

PREDICTIONS_FILE = "heldout.npz"


@dataclass(frozen=True)
class Result:
    """The held-out score of a model, and its files.

    Attributes:
        errors: number of held-out examples that the model classifies wrongly.
        examples: number of held-out examples.
        folder: holds the weights, the architecture and the held-out predictions.
    """

    errors: int
    examples: int
    folder: Path

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS_FILE

    @property
    def predictions(self) -> Path:
        """The file of the held-out predictions (`prediction_file.py`)."""
        return self.folder / PREDICTIONS_FILE

    @property
    def accuracy(self) -> float:
        """The fraction of held-out examples that the model classifies correctly."""
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
    """Score a model on the held-out set, and write its weights and predictions into a folder.

    Args:
        model: in evaluation mode, on the device that it runs on.
        heldout: the held-out examples.
        architecture: of the model; written beside the weights.
        folder: that the files are written into.
        batch_size: examples in each forward pass.
        notes: metadata of the weights file.
        logits: of the model on the held-out examples, if they are computed already.
    """
    if logits is None:
        logits = predict(model, heldout, batch_size)
    right = correct(logits, heldout.labels)
    result = Result(int((~right).sum()), len(heldout), folder)
    architecture.save(folder / DESCRIPTION_FILE)
    record = {RECORD: f"{result.accuracy:.6f}"}
    save(model.state_dict(), result.weights, {**(notes or {}), **record})
    prediction_file.write(result.predictions, logits, right)
    return result
