"""The distilled models of studies: trained once, and kept by digest beside what studies keep."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from soup.data.progress import Track, no_progress
from soup.evaluation.examples import Examples
from soup.files import of_code, of_file, of_libraries, of_value
from soup.models import load_weights
from soup.studies.model import Model
from soup.train.distil import Lesson, distil, hyperparameters_of
from soup.weights import Weights
from soup.weights.checkpoint import Checkpoint, save
from soup.weights.shards import WEIGHTS_FILE, CheckpointError


@dataclass(frozen=True)
class Students:
    """Trains and keeps distilled models.

    Attributes:
        folder: of the models, one below it for each.
        network: lends a network of the architecture of teacher and student, on the device that
            students are trained on. A student is trained in it: a network of its own would be one
            more model in memory, beside the four (weights, gradients, the two moments of AdamW)
            that training takes.
        start: reads the initialisation.
        track: shows the progress of a training.
    """

    folder: Path
    network: Callable[[], nn.Module]
    start: Callable[[], Weights]
    track: Track = no_progress

    def __call__(
        self,
        digest: str,
        examples: Examples,
        probabilities: NDArray[np.floating],
        settings: Mapping[str, Any],
        seed: int,
    ) -> Model:
        """The student of a lesson, trained now or before; see `soup.studies.bench.Teach`."""
        made_by = [of_code("soup.train", "soup.models"), of_libraries("torch")]
        digest = of_value([digest, made_by])
        folder = self.folder / digest
        file = folder / WEIGHTS_FILE
        try:
            weights = Checkpoint(file)
        except (OSError, CheckpointError):
            student = self.network()
            load_weights(student, self.start(), "the student")
            lesson = Lesson(examples, probabilities, hyperparameters_of(settings, seed))
            total = lesson.hyperparameters.epochs * len(examples)
            try:
                with self.track("distilling", total) as advance:
                    distil(student, lesson, folder / "state", advance)
                save(student.state_dict(), file)
            finally:  # the lender gets back what it lent
                student.zero_grad(set_to_none=True)
                student.eval()
            shutil.rmtree(folder / "state", ignore_errors=True)
            weights = Checkpoint(file)
        return Model("distilled", weights, of_file(file))
