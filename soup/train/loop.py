"""The training loop.

Every random draw is a function of (seed, epoch) or (seed, step), and never of earlier draws. A run
that was interrupted therefore continues exactly as if it had not been.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from soup.errors import Failure
from soup.models.batchnorm import layers_of
from soup.models.freed_memory import keep_freed_memory
from soup.models.transforms import seed_all, seeds
from soup.train.losses import Mix
from soup.train.optimizer import StepConfig, make_optimizer
from soup.train.rank import ALONE, Rank
from soup.train.run_state import RunStateFile
from soup.train.schedule import Schedule
from soup.train.step import Loss, Step
from soup.train.weight_averages import Averages

Batch = tuple[Tensor, Tensor]
Log = Callable[[int, dict[str, float]], None]
LOWER = "lower sweep.space.lr or sweep.clip"


class Diverged(Failure, RuntimeError):
    """The loss or a weight became NaN or infinite; the message says at which step."""


def _training(model: nn.Module, frozen_batchnorm: bool) -> None:
    """Put a model into training mode, its BatchNorm layers excepted if they are frozen."""
    model.train()
    for layer in layers_of(model).values() if frozen_batchnorm else ():
        layer.eval()


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
    ranks: Rank = ALONE,
    until: int | None = None,
    log: Log = lambda *_: None,
    say: Callable[[str], None] = lambda _: None,
    after_epoch: Callable[[int], None] = lambda _: None,
    keeper: RunStateFile | None = None,
    log_every: int = 10,
) -> bool:
    """Train a model in place.

    Args:
        batches: (epoch, batches to skip) -> the epoch's remaining batches, on the model's device.
        loss: (model, images, labels) -> scalar, the mean over the batch.
        schedule: number of steps, and the learning rate of each.
        method: the optimiser and what all steps have in common.
        mix: (images, labels) -> the batch after mixup or cutmix.
        averages: running averages of the weights of `model`, updated after each step.
        network: the module that computes the output with the model's parameters (compiled or
            distributed); None: the model itself.
        ranks: this process among those that run the fine-tune. Each draws its own dropout and mixes
            its own images; `batches` yields its part of each batch.
        until: number of steps after which the run is saved and paused; None: never. A run that was
            saved after more steps begins anew, for it is to be compared with others at this step.
        log: called with the step, and with 'train/loss' and 'train/lr', every `log_every` steps.
        say: called with a line for the user.
        after_epoch: called with the number of steps done, while the model is in evaluation mode.
        keeper: saves and restores the state of the run.

    Returns:
        Whether the run is complete; False if it was paused.

    Raises:
        Diverged: the loss of a step, or a weight in the end, is NaN or infinite.
    """
    keep_freed_memory()
    optimizer = make_optimizer(model, method, schedule.lr)
    averages = averages or Averages(model)
    last = min(schedule.steps, schedule.steps if until is None else until)
    step = keeper.restore(model, optimizer, averages, last) if keeper else 0
    if ranks.any(step != ranks.broadcast(step)):
        raise Failure("the ranks found different states: the run's folder must be one they all see")
    train_step = Step(network or model, optimizer, loss, method, say, ranks)
    draws = seeds(schedule.steps, schedule.seed, 1, *([] if ranks.first else [ranks.rank]))
    on_cpu = next(model.parameters()).device.type == "cpu"
    pending: list[Tensor] = []

    def check_losses() -> float:
        """Check the losses of the steps since the last check; on a GPU, each check waits for it."""
        losses = torch.stack(pending)
        ranks.average([losses])  # a rank that diverges takes the others with it, at the same step
        values = losses.tolist()
        for index, value in enumerate(values, start=step - len(values)):
            if not math.isfinite(value):
                # Before the first update the learning rate cannot be the cause.
                remedy = LOWER if index else "are the base's weights and the images whole?"
                where = f"at step {index} of {schedule.steps}"
                raise Diverged(f"the loss became {value} {where}; {remedy}")
        pending.clear()
        return float(values[-1])

    _training(model, method.frozen_batchnorm)
    while step < last:
        epoch, done = divmod(step, schedule.steps_per_epoch)
        for images, labels in batches(epoch, done):
            seed_all(int(draws[step]))
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step) * group.get("lr_scale", 1.0)
            pending.append(train_step(*mix(images, labels)))
            step += 1
            ends = step % schedule.steps_per_epoch == 0
            averages.update(epoch_ended=ends and schedule.flat(step - 1))
            is_logged = step % log_every == 0 or step == schedule.steps
            if is_logged or on_cpu or step == last:
                value = check_losses()
            if is_logged:
                log(step, {"train/loss": value, "train/lr": schedule.rate(step - 1)})
            if keeper and step < schedule.steps:
                keeper.keep(step, model, optimizer, averages, now=step == last)
            if step == last:
                break
        model.eval()
        if step % schedule.steps_per_epoch == 0:
            after_epoch(step)
        _training(model, method.frozen_batchnorm)
    model.eval()
    if step < schedule.steps:
        return False
    # No loss shows that the last update overflowed.
    if ranks.any(not all(bool(torch.isfinite(p).all()) for p in model.parameters())):
        raise Diverged(f"the weights are not finite after the last step, {schedule.steps}; {LOWER}")
    return True
