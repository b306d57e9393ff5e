"""The held-out score of a model, by which ingredients are ranked, and the folder it is kept in."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from soup.evaluation import prediction_file
from soup.evaluation.diagnosis.low_scores import RECORD
from soup.evaluation.examples import Examples
from soup.evaluation.metrics import Correct, Labels, Logits, NumberLabels, correct
from soup.evaluation.number_scores import MEASURE, NUMBER_SCORES, Numbers, value
from soup.evaluation.predict import predict
from soup.evaluation.score_bounds import Score
from soup.evaluation.scores import task_score
from soup.models import Architecture, write_description
from soup.weights.checkpoint import save
from soup.weights.shards import WEIGHTS_FILE

PREDICTIONS_FILE = "heldout.npz"
ACCURACY = "accuracy"


@dataclass(frozen=True)
class Result:
    """The held-out score of a model, and its files.

    Attributes:
        errors: number of held-out examples that the model classifies wrongly; for another measure
            than accuracy, 1 less the score.
        examples: number of held-out examples.
        folder: holds the weights, the architecture and the held-out predictions.
        measure: 'accuracy', or the score of predicted numbers.
    """

    errors: float
    examples: int
    folder: Path
    measure: str = ACCURACY

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS_FILE

    @property
    def predictions(self) -> Path:
        """The file of the held-out predictions (`prediction_file.py`)."""
        return self.folder / PREDICTIONS_FILE

    @property
    def score(self) -> float:
        """The fraction of held-out examples that are correct, or the score of the numbers."""
        return 1 - self.errors / (self.examples if self.measure == ACCURACY else 1)

    @property
    def metrics(self) -> dict[str, float]:
        """The cost and the score by MLflow's names."""
        cost = "errors" if self.measure == ACCURACY else "cost"
        return {f"heldout/{cost}": self.errors, f"heldout/{self.measure}": self.score}

    def facts(self) -> dict[str, Any]:
        """What a record in JSON holds of it; see `result_from`."""
        return {"errors": self.errors, "examples": self.examples, "measure": self.measure}


def result_from(facts: Mapping[str, Any], folder: Path) -> Result:
    """A result from `Result.facts`.

    Raises:
        KeyError, TypeError, ValueError: they are damaged.
    """
    measure, errors = str(facts.get("measure", ACCURACY)), facts["errors"]
    counted = int(errors) if measure == ACCURACY else float(errors)
    return Result(counted, int(facts["examples"]), folder, measure)


def heldout_score(logits: Logits, labels: Labels | NumberLabels) -> float:
    """The accuracy of logits, or the score of predicted numbers (`number_scores.MEASURE`)."""
    if labels.dtype.kind != "f":
        return float(correct(logits, labels).mean())
    return value(NUMBER_SCORES[MEASURE], [Numbers(labels, logits[:, 0])])


def named_score(name: str, positive: int = 1) -> Score | None:
    """The score of a name, of classes or of numbers; None for accuracy."""
    return NUMBER_SCORES[name] if name in NUMBER_SCORES else task_score(name, positive)


def heldout_figures(
    logits: Logits, labels: Labels | NumberLabels, name: str = ACCURACY, positive: int = 1
) -> tuple[float, dict[str, float]]:
    """The score of logits on held-out, and all figures by MLflow's names.

    Args:
        name: of the score; accuracy stands for the measure of numbers, if they are predicted.
        positive: index of the class that the F1 score of 'f1-accuracy' is of.
    """
    measure = MEASURE if labels.dtype.kind == "f" else ACCURACY
    figures = {f"heldout/{measure}": heldout_score(logits, labels)}
    score = None if name == measure else named_score(name, positive)
    if score is None:
        return figures[f"heldout/{measure}"], figures
    exact = torch.from_numpy(logits.astype(np.float32))
    value_of = 1 - score(exact, torch.from_numpy(labels))
    return value_of, {**figures, f"heldout/{name}": value_of}


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
    right: Correct | None = None
    if architecture.predicts_numbers:
        cost = 1 - heldout_score(logits, heldout.labels)
        result, record = Result(cost, len(heldout), folder, MEASURE), {}
    else:
        right = correct(logits, heldout.labels)
        result = Result(int((~right).sum()), len(heldout), folder)
        record = {RECORD: f"{result.score:.6f}"}
    write_description(architecture, folder)
    save(model.state_dict(), result.weights, {**(notes or {}), **record})
    prediction_file.write(result.predictions, logits, right)
    return result
