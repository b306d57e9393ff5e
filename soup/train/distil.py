"""Distil the answers of a teacher into one model: train it on the teacher's probabilities.

Hinton et al., "Distilling the knowledge in a neural network", NeurIPS workshop 2014, at temperature
1: the loss is the cross-entropy between the teacher's and the student's probabilities. Labels are
not used, so that any images or texts will do.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from torch import nn

from soup.errors import BadInput
from soup.evaluation.examples import Examples
from soup.train.batches import steps_per_epoch
from soup.train.hyperparameters import Hyperparameters
from soup.train.loop import Batch, fit
from soup.train.losses import cross_entropy
from soup.train.optimizer import StepConfig
from soup.train.run_state import RunStateFile
from soup.train.schedule import Schedule

SAVE_SECONDS = 60  # between two saves of the state
METHOD = tuple(field.name for field in fields(StepConfig))
# Of a fine-tune, what a student is trained with too.
SHARED = (*METHOD, "lr", "epochs", "batch_size", "warmup", "decay")


@dataclass(frozen=True)
class Lesson:
    """What a student is trained on.

    Attributes:
        examples: without labels, as the model takes them at evaluation (not augmented).
        probabilities: the teacher's, float (examples, classes).
        hyperparameters: of the training.
    """

    examples: Examples
    probabilities: NDArray[np.floating]
    hyperparameters: Hyperparameters


def hyperparameters_of(settings: Mapping[str, Any], seed: int) -> Hyperparameters:
    """The settings of a fine-tune, as far as distillation has them, with another seed.

    Args:
        settings: values, or the text that MLflow keeps of them. Those that are None, which are not
            known, or are missing have their defaults; a `clip` of None is no clipping.

    Raises:
        BadInput: a setting is not one that training takes.
    """
    told = {name: settings[name] for name in SHARED if name in settings}
    told = {name: None if value == "None" else value for name, value in told.items()}
    chosen = {name: v for name, v in told.items() if v is not None or name == "clip"}
    try:
        return TypeAdapter(Hyperparameters).validate_python(
            {"weight_decay": 0.0, **chosen, "seed": seed}
        )
    except ValidationError as error:
        wrong = ", ".join(f"{fault['loc'][0]}: {fault['input']!r}" for fault in error.errors())
        raise BadInput(
            f"a student cannot be trained with these settings of the fine-tune: {wrong}"
        ) from None


def distil(
    student: nn.Module,
    lesson: Lesson,
    folder: Path,
    advance: Callable[[int], object] = lambda _: None,
) -> None:
    """Train a model in place; one that was interrupted goes on from its state in the folder.

    Args:
        student: holds the initialisation, on its device.
        folder: of the state.
        advance: called with the number of examples of each step.

    Raises:
        Diverged: the loss stopped being a number.
    """
    h = lesson.hyperparameters
    every = np.arange(len(lesson.examples))
    fixed = lesson.examples.groups(every, h.batch_size)  # of texts
    steps = steps_per_epoch(len(every), h.batch_size) if fixed is None else len(fixed)
    schedule = Schedule(h.epochs, steps, h.lr, h.warmup, h.seed, decay=h.decay)
    device = next(student.parameters()).device
    targets = torch.from_numpy(np.asarray(lesson.probabilities, dtype=np.float32)).to(device)

    def batches(epoch: int, skip: int) -> Iterator[Batch]:
        rng = np.random.default_rng([h.seed, epoch])
        if fixed is None:
            size = min(h.batch_size, len(every))
            order = rng.permutation(every)
            chosen = [order[step * size : (step + 1) * size] for step in range(steps)]
        else:
            chosen = [fixed[place] for place in rng.permutation(len(fixed))]
        for rows in chosen[skip:]:
            advance(len(rows))
            inputs = lesson.examples.prepare(lesson.examples.compact(rows).to(device))
            yield inputs, targets[torch.from_numpy(rows).to(device)]

    method = StepConfig(**{name: getattr(h, name) for name in METHOD})
    keeper = RunStateFile(folder / "state.safetensors", SAVE_SECONDS)
    fit(student, batches, cross_entropy(), schedule, method, keeper=keeper)
