"""The number of steps of a run, and the learning rate of each."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, then half a cosine or a line to zero or, for SWA, to a constant rate.

    Attributes:
        epochs, steps_per_epoch: passes over the data, and batches in each.
        lr: peak learning rate.
        warmup: share of all steps (below 1) or number of steps in which the rate rises linearly.
        seed: of order, augmentation and dropout.
        flat_from: share of the run after which the rate is constant (SWA); 1 for never.
        flat_lr: that rate, as a share of the peak.
        decay: 'cosine' or 'linear', after the warm-up.
    """

    epochs: int
    steps_per_epoch: int
    lr: float
    warmup: float
    seed: int
    flat_from: float = 1.0
    flat_lr: float = 0.5
    decay: Literal["cosine", "linear"] = "cosine"

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def flat(self, step: int) -> bool:
        """Whether a step (from 0) is in the constant part."""
        return self.flat_from < 1 and step >= math.ceil(self.flat_from * self.steps)

    def rate(self, step: int) -> float:
        """The learning rate of a step (from 0)."""
        warmup = self.warmup if self.warmup >= 1 else self.warmup * self.steps
        warm = min(math.ceil(warmup), self.steps)
        if step < warm:
            return self.lr * (step + 1) / warm
        if self.flat(step):
            return self.lr * self.flat_lr
        done = (step - warm) / max(1, self.steps - warm)
        left = 1 - done if self.decay == "linear" else 0.5 * (1 + math.cos(math.pi * done))
        return self.lr * left
