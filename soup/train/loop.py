"""THE training loop.

Every random draw is a function of (seed, epoch) or (seed, step), never of what was drawn before, so
that a run continues from any step exactly as if it had not been interrupted.
"""

import math
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from soup.errors import Failure
from soup.models.transforms import seed_all, seeds
from soup.train.losses import Mix
from soup.train.optimizer import StepConfig, make_optimizer
from soup.train.rank import ALONE, Rank
from soup.train.schedule import Schedule
from soup.train.step import Loss, Step
from soup.train.weight_averages import Averages

Batch = tuple[Tensor, Tensor]
Log = Callable[[int, dict[str, float]], None]


class Diverged(Failure, RuntimeError):
    """The loss stopped being a number; the message says at which step."""


@runtime_checkable
class Keeper(Protocol):
    """Keeps a run's state so that it can go on later."""

    def restore(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, averages: Averages
    ) -> int:
        """Load what was kept, if anything, and return the number of steps done."""
        ...

    def keep(
        self,
        step: int,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        averages: Averages,
        now: bool = False,
    ) -> None:
        """Called after each step; decides itself whether it is time, unless it must be `now`."""
        ...


def fit(
    model: nn.Module,
    batches: Callable[[int, int], Iterator[Batch]],
    loss: Loss,
    schedule: Schedule,
    method: StepConfig,
    *,
    mix: Mix = lambda images, labels: (images, labels),
    averages: Averages | None = None,
    network: nn.Module | None = None,
    share: Rank = ALONE,
    until: int | None = None,
    log: Log = lambda *_: None,
    say: Callable[[str], None] = lambda _: None,
    after_epoch: Callable[[int], None] = lambda _: None,
    keeper: Keeper | None = None,
    log_every: int = 10,
) -> bool:
    """Train a model in place.

    Args:
        batches: (epoch, batches to skip) -> the epoch's remaining batches, on the model's device.
        loss: (model, images, labels) -> scalar, the mean over the batch.
        mix: (images, labels) -> the same, mixed.
        averages: of the weights, kept up to date; made of `model`.
        network: what computes the model's output and shares its parameters, if not the model
            itself (compiled, or distributed).
        share: of this process, where several share the run: each draws its own dropout and mixes
            its own images; `batches` are its shares of the batches.
        until: pause after this many steps, the state kept.
        log: called with the step and 'train/loss' and 'train/lr', every `log_every` steps.
        say: called with what a person should know.
        after_epoch: called with the number of steps done, the model in evaluation mode.

    Returns:
        Whether the run is complete; False if it was paused.

    Raises:
        Diverged: the loss of a step, or a weight in the end, is NaN or infinite.
    """
    optimizer = make_optimizer(model, method, schedule.lr)
    averages = averages or Averages(model)
    step = keeper.restore(model, optimizer, averages) if keeper else 0
    if share.any(step != share.broadcast(step)):
        raise Failure("the ranks found different states: the run's folder must be one they all see")
    take = Step(network or model, optimizer, loss, method, say, share)
    draws = seeds(schedule.steps, schedule.seed, 1, *([] if share.first else [share.rank]))
    on_cpu = next(model.parameters()).device.type == "cpu"
    pending: list[Tensor] = []

    def check_losses() -> float:
        """Look at the losses since the last look: on a GPU each look waits for it."""
        losses = torch.stack(pending)
        share.average([losses])  # a rank that diverges takes the others with it, at the same step
        values = losses.tolist()
        for index, value in enumerate(values, start=step - len(values)):
            if not math.isfinite(value):
                raise Diverged(f"the loss became {value} at step {index} of {schedule.steps}")
        pending.clear()
        return float(values[-1])

    last = min(schedule.steps, schedule.steps if until is None else until)
    model.train()
    while step < last:
        epoch, done = divmod(step, schedule.steps_per_epoch)
        for images, labels in batches(epoch, done):
            seed_all(int(draws[step]))
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step) * group.get("lr_scale", 1.0)
            pending.append(take(*mix(images, labels)))
            step += 1
            ends = step % schedule.steps_per_epoch == 0
            averages.update(epoch_ended=ends and schedule.flat(step - 1))
            told = step % log_every == 0 or step == schedule.steps
            if told or on_cpu or step == last:
                value = check_losses()
            if told:
                log(step, {"train/loss": value, "train/lr": schedule.rate(step - 1)})
            if keeper and step < schedule.steps:
                keeper.keep(step, model, optimizer, averages, now=step == last)
            if step == last:
                break
        model.eval()
        if step % schedule.steps_per_epoch == 0:
            after_epoch(step)
        model.train()
    model.eval()
    if step < schedule.steps:
        return False
    # A last update that overflows shows in no loss.
    if share.any(not all(bool(torch.isfinite(p).all()) for p in model.parameters())):
        raise Diverged(f"the weights are not finite after the last step, {schedule.steps}")
    return True
