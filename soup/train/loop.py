"""THE training loop: AdamW, warm-up and cosine to zero, clipped gradients.

Every random draw is a function of (seed, epoch) or (seed, step), never of what was drawn before, so
that a run continues from any step exactly as if it had not been interrupted.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from soup.data.transforms import seed_all, seeds
from soup.errors import Failure

Batch = tuple[Tensor, Tensor]
Log = Callable[[int, dict[str, float]], None]


class Diverged(Failure, RuntimeError):
    """The loss stopped being a number; the message says at which step."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Attributes:
        epochs, steps_per_epoch: passes over the data, and batches in each.
        lr: peak learning rate.
        weight_decay: AdamW's.
        warmup: share of all steps in which the rate rises linearly.
        clip: largest gradient norm.
        seed: of order, augmentation and dropout.
    """

    epochs: int
    steps_per_epoch: int
    lr: float
    weight_decay: float
    warmup: float
    clip: float
    seed: int

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def rate(self, step: int) -> float:
        """The learning rate of a step (from 0): linear to `lr`, then half a cosine to 0."""
        warm = math.ceil(self.warmup * self.steps)
        if step < warm:
            return self.lr * (step + 1) / warm
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))


@runtime_checkable
class Keeper(Protocol):
    """Keeps a run's state so that it can go on later."""

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
        """Load what was kept, if anything, and return the number of steps done."""
        ...

    def keep(self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Called after each step; decides itself whether it is time."""
        ...


def fit(
    model: nn.Module,
    batches: Callable[[int, int], Iterator[Batch]],
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor],
    schedule: Schedule,
    log: Log = lambda *_: None,
    after_epoch: Callable[[int], None] = lambda _: None,
    keeper: Keeper | None = None,
    log_every: int = 10,
) -> None:
    """Train a model in place.

    Args:
        batches: (epoch, batches to skip) -> the epoch's remaining batches, on the model's device.
        loss: (model, images, labels) -> scalar.
        log: called with the step and 'train/loss' and 'train/lr', every `log_every` steps.
        after_epoch: called with the number of steps done, the model in evaluation mode.

    Raises:
        Diverged: the loss of a step, or a weight in the end, is NaN or infinite.
    """
    # Norms and biases are not decayed, as is usual.
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": schedule.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=schedule.lr)
    step = keeper.restore(model, optimizer) if keeper else 0
    steps = seeds(schedule.steps, schedule.seed, 1)
    model.train()
    while step < schedule.steps:
        epoch, done = divmod(step, schedule.steps_per_epoch)
        for images, labels in batches(epoch, done):
            seed_all(int(steps[step]))
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step)
            optimizer.zero_grad(set_to_none=True)
            value = loss(model, images, labels)
            if not torch.isfinite(value):
                raise Diverged(f"the loss became {value.item()} at step {step} of {schedule.steps}")
            value.backward()
            nn.utils.clip_grad_norm_(model.parameters(), schedule.clip)
            optimizer.step()
            step += 1
            if step % log_every == 0 or step == schedule.steps:
                log(step, {"train/loss": value.item(), "train/lr": schedule.rate(step - 1)})
            if keeper and step < schedule.steps:
                keeper.keep(step, model, optimizer)
        model.eval()
        after_epoch(step)
        model.train()
    model.eval()
    # A last update that overflows shows in no loss.
    if not all(bool(torch.isfinite(p).all()) for p in model.parameters()):
        raise Diverged(f"the weights are not finite after the last step, {schedule.steps}")
