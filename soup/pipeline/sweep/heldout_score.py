"""The score that soups are chosen by, of the held-out predictions of a sweep's ingredients."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from soup.data.text.examples import labels_of
from soup.evaluation import prediction_file
from soup.evaluation.heldout import Result, named_score
from soup.evaluation.metrics import Labels, NumberLabels
from soup.evaluation.score_bounds import Score
from soup.evaluation.score_text import ACCURACY, score_text
from soup.models import DESCRIPTION_FILE, Architecture
from soup.pipeline.project import Project
from soup.pipeline.task_score import score_settings


@dataclass(frozen=True)
class HeldoutScore:
    """The score that ingredients are ranked by.

    Attributes:
        name: 'accuracy', or the name of another score.
        positive: index of the class that the F1 score of 'f1-accuracy' is of.
        score: of all predictions, as a cost; None for accuracy.
        labels: of the held-out examples (examples,); empty for accuracy.
    """

    name: str
    positive: int
    score: Score | None
    labels: Labels | NumberLabels

    @staticmethod
    def of(project: Project) -> "HeldoutScore":
        """The score of a project whose probe is done.

        Raises:
            BadInput: the score is not defined for the project's classes.
        """
        classes = Architecture.load(project.out / "probe" / DESCRIPTION_FILE).classes
        name, positive = score_settings(project.params, classes)
        score = named_score(name, positive)
        rows = project.manifest(project.development).split("heldout") if score else []
        return HeldoutScore(name, positive, score, labels_of([row.label for row in rows], classes))

    @property
    def metric(self) -> str:
        """Its name in MLflow."""
        return f"heldout/{self.name}"

    def rung(self, share: float) -> str:
        """The metric in MLflow of the score at a pause after a share of the run."""
        return f"rung/{share:g}" + ("" if self.score is None else f"/{self.name}")

    def value(self, result: Result) -> float:
        """The score of an ingredient."""
        return result.score if self.score is None else self.of_file(result.predictions)

    def of_file(self, predictions: Path) -> float:
        """The score of a file of held-out predictions; not for accuracy."""
        assert self.score is not None
        logits = torch.from_numpy(prediction_file.read(predictions).astype(np.float32))
        return 1 - self.score(logits, torch.from_numpy(self.labels))

    def metrics(self, result: Result) -> dict[str, float]:
        """The held-out figures of an ingredient for MLflow: errors, accuracy and the score."""
        return {**result.metrics, self.metric: self.value(result)}

    def text_of(self, result: Result) -> str:
        """The score of an ingredient for people, computed from its predictions."""
        return self.text(self.value(result))

    def text(self, value: float) -> str:
        """A value for people."""
        return score_text(self.name, value)


BY_ACCURACY = HeldoutScore(ACCURACY, 1, None, np.zeros(0, dtype=np.int64))
