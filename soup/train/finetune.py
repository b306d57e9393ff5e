"""One fine-tune: train from the shared initialisation, and score the ingredients on held-out."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from soup.data.examples import examples
from soup.data.loading.image_store import ImageStore
from soup.data.loading.packed import training_images
from soup.data.reading.limits import Limits
from soup.data.split.manifest import Manifest, Row
from soup.data.text.examples import TextExamples
from soup.evaluation.heldout import ACCURACY, Result, heldout_figures, result_from, scored
from soup.evaluation.metrics import Logits
from soup.files import BadJson, read_json, write_json
from soup.models import DESCRIPTION_FILE, Architecture, build
from soup.models.batchnorm import BATCH, IMAGES, Recalibration, has_batchnorm, spread_evenly
from soup.models.inputs import model_input
from soup.models.layer_groups import checkpoint_gradients, set_drop_path
from soup.models.transforms import image_input, training
from soup.train.batches import Replaced, augmented, steps_per_epoch, workers_for
from soup.train.distributed_predict import answers
from soup.train.fsdp import gathered
from soup.train.hyperparameters import Hyperparameters
from soup.train.loop import Batch, Log, fit
from soup.train.losses import cross_entropy, label_likelihood, mixing, squared_error
from soup.train.optimizer import StepConfig
from soup.train.process_group import spread
from soup.train.rank import ALONE, Rank
from soup.train.run_state import RunStateFile
from soup.train.schedule import Schedule
from soup.train.step import Loss
from soup.train.text_batches import tokens
from soup.train.weight_averages import Averages, names
from soup.weights.checkpoint import Checkpoint
from soup.weights.shards import WEIGHTS_FILE

CURVE = 5  # held-out scores logged on the way, at most: each one costs
CURVE_EXAMPLES = 1000  # held-out examples that these are of, at most
FINAL_WEIGHTS = ""  # the name of the ingredient that is no average


Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Job:
    """All that one fine-tune needs, as plain values that can be sent to another process.

    `hyperparameters` and the contents of `start` and `development` decide the result. Two other
    values change it slightly: `devices` (with several, mixup and drop path draw other random
    numbers) and `threads` (the order of sums, and so the last bits).

    Attributes:
        hyperparameters: see `Hyperparameters`.
        start: folder of the initialisation (`model.json`, `model.safetensors`).
        development: the manifest of training and held-out images.
        root: the folder that the paths in the manifest are relative to.
        folder: where the state and the results of the run are written.
        cache: where decoded images are kept.
        cache_gib: largest size of that folder, GiB.
        devices: 'cpu', 'cuda:0', ... of this machine; each gets a process of its own.
        threads: CPU threads of each process.
        sharding: 'full' spreads the model over the devices, 'none' copies it to each.
        eval_batch_size: images a pass on held-out.
        checkpoint_seconds: between two saves of the run's state; 0 saves it after each step.
        checkpoint_steps: also save the state after every so many steps; None: do not.
        until: share of the run after which it pauses; 1 for all of it.
        limits: of the size of a picture; None: those of the environment.
        score: name of the score on held-out that is logged on the way, and compared at a pause.
        positive: index of the class that the F1 score of 'f1-accuracy' is of.
    """

    hyperparameters: Hyperparameters
    start: Path
    development: Path
    root: Path
    folder: Path
    cache: Path
    cache_gib: float
    devices: tuple[str, ...]
    threads: int
    sharding: Literal["none", "full"] = "none"
    eval_batch_size: int = 256
    checkpoint_seconds: float = 60
    checkpoint_steps: int | None = None
    until: float = 1.0
    limits: Limits | None = None
    score: str = ACCURACY
    positive: int = 1

    @property
    def images(self) -> ImageStore:
        """The images of the manifest, and the cache that they share."""
        return ImageStore(self.root, self.cache, self.cache_gib, limits=self.limits)


# By the name of a weight average; FINAL_WEIGHTS names the ingredient that is no average.
Results = Mapping[str, Result]


def finetune(
    job: Job,
    log: Log,
    say: Callable[[str], None] = lambda _: None,
    ranks: Rank = ALONE,
    stop: Callable[[], bool] = lambda: False,
) -> Results | float:
    """Train and score one fine-tune, from the state in its folder if it was interrupted.

    Args:
        log: called with a step and its metrics.
        say: called with a line for the user.
        ranks: this process, if several run the job; rank 0 alone logs and writes.
        stop: asked after each step whether to stop.

    Returns:
        The results (empty on all ranks but 0), or the held-out score if the run paused at
        `until`.

    Raises:
        Diverged: the loss stopped being a number.
        Unshareable: see `soup.train.process_group.spread`.
        Stopped: the run was asked to stop; its state is saved.
    """
    replaced = Replaced(say)  # each rank tells of its own images
    if not ranks.first:
        log, say = lambda *_: None, lambda _: None
    torch.set_num_threads(job.threads)
    architecture = Architecture.load(job.start / DESCRIPTION_FILE)
    device = torch.device(job.devices[ranks.local])
    start = Checkpoint(job.start / WEIGHTS_FILE)
    model = _network(job, architecture, start).to(device)
    manifest, classes = Manifest.load(job.development), architecture.classes
    heldout = examples(job.images, manifest.split("heldout"), classes, model_input(architecture))
    h = job.hyperparameters
    rows = manifest.split("train")
    steps = steps_per_epoch(len(rows), h.batch_size)
    flat_from = 1.0 if h.swa_start is None else h.swa_start
    schedule = Schedule(h.epochs, steps, h.lr, h.warmup, h.seed, flat_from, h.swa_lr, h.decay)
    sharded = ranks.world > 1 and job.sharding == "full"
    network: nn.Module | None = None
    if ranks.world > 1:
        batch = min(h.batch_size, len(rows))
        network, ranks = spread(
            model, ranks, batch, h.accumulate, sharded, h.precision, h.frozen_batchnorm
        )
    if h.compile:
        network = cast(nn.Module, torch.compile(network or model))
    averages = Averages(model, h.ema, h.swa_start is not None)
    method = StepConfig(**{field.name: getattr(h, field.name) for field in fields(StepConfig)})
    if sharded:
        method = replace(method, precision="float32")  # FSDP itself gathers weights in bfloat16

    everything = np.arange(len(heldout))

    def predicted(candidate: nn.Module, of: Indices) -> tuple[nn.Module, Logits]:
        """The model, gathered if it is sharded, and its logits for held-out examples."""
        if sharded:
            candidate = gathered(candidate, build(architecture).to(device))
        size = job.eval_batch_size
        return candidate, answers(candidate, heldout, len(classes), size, ranks, of)

    def score(of: Indices) -> tuple[float, dict[str, float]]:
        return heldout_figures(predicted(model, of)[1], heldout.labels[of], job.score, job.positive)

    def after_epoch(step: int) -> None:
        if step < schedule.steps and step // schedule.steps_per_epoch % -(-h.epochs // CURVE) == 0:
            log(step, score(np.sort(spread_evenly(len(heldout), CURVE_EXAMPLES)))[1])

    complete = fit(
        model,
        _batches(job, rows, architecture, device, ranks, replaced),
        _loss(architecture, h),
        schedule,
        method,
        mix=mixing(len(classes), h.mixup, h.cutmix),
        averages=averages,
        network=network,
        ranks=ranks,
        until=None if job.until == 1 else max(1, round(job.until * schedule.steps)),
        log=log,
        say=say,
        after_epoch=after_epoch,
        keeper=RunStateFile(
            job.folder / "state.safetensors",
            job.checkpoint_seconds,
            job.checkpoint_steps,
            ranks,
            sharded,
            stop,
        ),
    )
    replaced.tell_total()
    if not complete:
        return score(everything)[0]
    # `soup inspect` and `soup explain` read these.
    notes = {"base": start.digest(), "lr": f"{h.lr:.6g}"}
    results = {}
    _recalibrate(averages.models.values(), job, manifest.split("train"), architecture)
    for name, candidate in {FINAL_WEIGHTS: model, **averages.models}.items():
        written, logits = predicted(candidate, everything)
        if ranks.first:
            folder = folder_of(job, name)
            results[name] = scored(
                written, heldout, architecture, folder, job.eval_batch_size, notes, logits
            )
    if not ranks.first:
        return results
    facts = {name: result.facts() for name, result in results.items()}
    write_json(job.folder / "result.json", facts)
    return results


def _loss(architecture: Architecture, h: Hyperparameters) -> Loss:
    if architecture.predicts_numbers:
        return squared_error
    return label_likelihood if architecture.writes_labels else cross_entropy(h.label_smoothing)


def _batches(
    job: Job,
    rows: Sequence[Row],
    architecture: Architecture,
    device: torch.device,
    ranks: Rank,
    replaced: Replaced,
) -> Callable[[int, int], Iterator[Batch]]:
    """The training batches: augmented images, or the tokens of texts."""
    h = job.hyperparameters
    if architecture.of_text:
        texts = examples(job.images, rows, architecture.classes, model_input(architecture))
        assert isinstance(texts, TextExamples)
        return tokens(texts, h.batch_size, h.seed, device, ranks)
    return augmented(
        training_images(job.images, rows, architecture.classes),
        training(architecture, h.augment, h.crop, h.flip),
        image_input(architecture).prepare,
        h.batch_size,
        h.seed,
        device,
        workers_for(job.threads, device),
        ranks,
        replaced,
    )


def _recalibrate(
    averaged: Collection[nn.Module], job: Job, train: Sequence[Row], architecture: Architecture
) -> None:
    """Recompute the BatchNorm statistics of averages, as those of candidate soups are."""
    if job.hyperparameters.frozen_batchnorm or not any(map(has_batchnorm, averaged)):
        return
    rows = [train[index] for index in spread_evenly(len(train), IMAGES)]
    some = examples(job.images, rows, architecture.classes, model_input(architecture))
    inputs = some.compact(np.arange(len(rows)))
    recalibration = Recalibration(inputs, some.prepare, min(job.eval_batch_size, BATCH))
    for model in averaged:
        recalibration(model, model.state_dict())


def finished(job: Job) -> Results | None:
    """The results on disk, or None; a pipeline may be killed before MLflow has stored them."""
    try:
        counts = read_json(job.folder / "result.json")
        return {name: result_from(facts, folder_of(job, name)) for name, facts in counts.items()}
    except (OSError, BadJson, AttributeError, KeyError, TypeError, ValueError):
        return None  # damaged: it is trained again


def folder_of(job: Job, name: str) -> Path:
    """The folder that an ingredient of the fine-tune is written to."""
    return job.folder / ("ingredient" if name == FINAL_WEIGHTS else f"ingredient-{name}")


def ingredients_of(hyperparameters: Hyperparameters) -> list[str]:
    """The names of the ingredients that a fine-tune makes."""
    return [FINAL_WEIGHTS, *names(hyperparameters.ema, hyperparameters.swa_start is not None)]


def _network(job: Job, architecture: Architecture, start: Checkpoint) -> nn.Module:
    model = build(architecture, start)
    if job.hyperparameters.drop_path:
        set_drop_path(model, architecture, job.hyperparameters.drop_path)
    if job.hyperparameters.grad_checkpointing:
        checkpoint_gradients(model)
    return model
